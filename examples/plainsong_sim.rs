//! The whole-product simulation for as long as you like.
//!
//! ```text
//! cargo run --release --example plainsong_sim -- --seeds 100000            many worlds, on every core
//! cargo run --release --example plainsong_sim -- --seed 4711 --trace       one, with everything that happens in it
//! cargo run --release --example plainsong_sim -- --speed                   simulated seconds a second, on one core
//! ```
//!
//! A world that breaks ends its process (releases abort on a panic, as the server does), so that the worlds run in child
//! processes: each prints a line for every seed, and this one counts, and starts a new child behind a seed that broke.

#[path = "../tests/sim/mod.rs"]
#[expect(dead_code, reason = "the test uses the rest")]
mod sim;

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::hunt::{Broken, replay_command};
use sim::run::{Summary, run, run_styled};
use sim::style::Style;
use sim::trace::Trace;
use sim::world::{MS, SECOND};

#[derive(Parser)]
#[command(about = "Simulates whole clusters, one seed each", long_about = None)]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run this one, in this process
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens in it
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Measure how fast a plain world runs
    #[arg(long)]
    speed: bool,
    /// Child processes
    #[arg(long, default_value_t = cores())]
    jobs: u64,
    #[arg(long, hide = true)]
    worker: bool,
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.worker {
        return work(args.from..args.from + args.seeds);
    }
    if args.speed {
        return measure_speed();
    }
    match args.seed {
        Some(seed) => {
            let trace = if args.trace { Trace::printed() } else { Trace::off() };
            println!("seed {seed}: {:?}", run(seed, trace).0);
            ExitCode::SUCCESS
        }
        None => many(&args),
    }
}

/// What a child tells of a seed that passed.
const COUNTS: [fn(&mut Summary) -> &mut u64; 11] = [
    |s| &mut s.simulated,
    |s| &mut s.committed,
    |s| &mut s.acknowledged,
    |s| &mut s.reads,
    |s| &mut s.refused,
    |s| &mut s.unknown,
    |s| &mut s.histories,
    |s| &mut s.over_quota,
    |s| &mut s.forks,
    |s| &mut s.given_up,
    |s| &mut s.anew,
];

// --- a child: prints what becomes of each seed -------------------------------------------------------------------------

fn work(seeds: Range<u64>) -> ExitCode {
    for seed in seeds {
        std::panic::set_hook(Box::new(move |info| {
            let Broken { law, text } = Broken::from_panic(info);
            // If this fails, nobody is left to tell: another child of the same bug has shown it.
            let _ = writeln!(std::io::stdout(), "broken\t{seed}\t{law}\t{}", text.replace(['\n', '\t'], " "));
            std::process::exit(1);
        }));
        let mut summary = run(seed, Trace::off()).0;
        let numbers = COUNTS.map(|count| count(&mut summary).to_string()).join("\t");
        if writeln!(std::io::stdout(), "ok\t{numbers}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

// --- the parent --------------------------------------------------------------------------------------------------------

/// What a child said of one seed.
enum Said {
    Ok(Summary),
    Broken(u64, Broken),
}

fn child(seeds: &Range<u64>) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--worker", "--from", &seeds.start.to_string(), "--seeds", &(seeds.end - seeds.start).to_string()])
        .stdout(Stdio::piped())
        .spawn()
}

fn understand(line: &str) -> Option<Said> {
    let words: Vec<&str> = line.split('\t').collect();
    match words.as_slice() {
        ["ok", numbers @ ..] if numbers.len() == COUNTS.len() => {
            let mut summary = Summary::default();
            for (count, number) in COUNTS.into_iter().zip(numbers) {
                *count(&mut summary) = number.parse().ok()?;
            }
            Some(Said::Ok(summary))
        }
        ["broken", seed, law, text] => {
            let broken = Broken { law: (*law).to_owned(), text: (*text).to_owned() };
            Some(Said::Broken(seed.parse().ok()?, broken))
        }
        _ => None,
    }
}

/// Runs seeds in children until all are done.
fn supervise(mut seeds: Range<u64>, said: &Sender<Said>) -> std::io::Result<()> {
    while !seeds.is_empty() {
        let mut child = child(&seeds)?;
        let output = child.stdout.take().expect("it is piped");
        let mut broke = false;
        for line in BufReader::new(output).lines() {
            let Some(one) = understand(&line?) else { continue };
            broke = matches!(one, Said::Broken(..));
            seeds.start += 1;
            if said.send(one).is_err() {
                break;
            }
        }
        child.wait()?;
        if !broke && !seeds.is_empty() {
            let broken = Broken { law: "the process died".to_owned(), text: "without a word".to_owned() };
            seeds.start += 1;
            // The receiver counts what it hears; if it is gone, nobody counts.
            let _ = said.send(Said::Broken(seeds.start - 1, broken));
        }
    }
    Ok(())
}

/// All of `seeds`, shared among `jobs` children at a time.
fn start(seeds: Range<u64>, jobs: u64) -> Receiver<Said> {
    let (said, heard) = channel();
    let share = (seeds.end - seeds.start).div_ceil(jobs.max(1)).max(1);
    let mut from = seeds.start;
    while from < seeds.end {
        let part = from..(from + share).min(seeds.end);
        from = part.end;
        let said = said.clone();
        std::thread::spawn(move || {
            if let Err(error) = supervise(part, &said) {
                eprintln!("plainsong_sim: cannot run a child: {error}");
            }
        });
    }
    heard
}

fn many(args: &Args) -> ExitCode {
    let begun = Instant::now();
    let bar = ProgressBar::new(args.seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds  {elapsed} (~{eta} left)  {msg}");
    bar.set_style(style.expect("the template is a constant"));
    bar.enable_steady_tick(Duration::from_millis(200));
    let (mut sum, mut failed) = (Summary::default(), 0);
    for said in start(args.from..args.from + args.seeds, args.jobs) {
        match said {
            Said::Ok(one) => sum = sum.with(one),
            Said::Broken(seed, broken) => {
                failed += 1;
                bar.suspend(|| println!("{}: {:.400}\n  {}", broken.law, broken.text, replay_command(seed)));
            }
        }
        bar.inc(1);
        let speed = (sum.simulated / SECOND) as f64 / begun.elapsed().as_secs_f64();
        bar.set_message(format!("{speed:.0} simulated s/s, {failed} failed"));
    }
    bar.finish_and_clear();
    let (seconds, real) = (sum.simulated / SECOND, begun.elapsed().as_secs_f64());
    println!(
        "{} seeds, {failed} failed; {seconds} simulated s in {real:.1} s: {:.0} a second",
        args.seeds,
        seconds as f64 / real
    );
    println!(
        "{} entries committed, {} writes and {} reads answered, {} refused, {} left open, {} over a limit, {} histories searched",
        sum.committed, sum.acknowledged, sum.reads, sum.refused, sum.unknown, sum.over_quota, sum.histories
    );
    if sum.anew > 0 {
        println!("{} forks, {} entries given up, {} starts anew", sum.forks, sum.given_up, sum.anew);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure_speed() -> ExitCode {
    const LENGTH: u64 = 1_000 * SECOND;
    // About 50 requests a second.
    let style = Style { think_max: 420 * MS, ..Style::plain(LENGTH) };
    let begun = Instant::now();
    let summary = run_styled(1, Some(style), Trace::off()).0;
    let (real, simulated) = (begun.elapsed().as_secs_f64(), (summary.simulated / SECOND) as f64);
    let requests = summary.asked as f64 / simulated;
    println!(
        "{summary:?}\n{simulated:.0} simulated s in {real:.2} s, {requests:.0} requests a simulated second: {:.0} a second",
        simulated / real
    );
    ExitCode::SUCCESS
}

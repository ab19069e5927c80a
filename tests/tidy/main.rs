//! Rules of the house that a compiler does not know. Each test is one rule, and each failure is one sentence: where, what,
//! and why the rule exists.
//!
//! [`source`] reads the repository, [`imports`] finds what a text imports, and [`broken`] breaks each rule once, because a
//! rule that cannot fail holds nothing.

mod broken;
mod docs;
mod imports;
mod source;

use std::fmt::Write as _;

use imports::{imports, module};
use source::{Source, sources, uses};

/// The most lines of a file. A longer one has more than one subject.
const FILE_LINES_MAX: usize = 600;
/// The most lines of a script. A longer one decides things, and belongs into the program, where it can be tested.
const SCRIPT_LINES_MAX: usize = 40;

/// Who may import what of ours. `*` is everything but `cli` and `server`.
const MAY_IMPORT: &[(&str, &[&str], &str)] = &[
    ("consensus", &[], "the core stands alone, so that it can be run in simulated time and examined by itself"),
    ("machine", &["consensus", "chat"], "applying is pure: it depends on the entry and the state alone"),
    ("storage", &["consensus", "machine", "chat"], "the disk knows what it keeps, not who asks for it"),
    ("views", &["consensus"], "the second core stands alone, beside the plain types and the log of the first"),
    ("wire", &["consensus", "machine", "chat"], "the grammar between replicas is text and types, no sockets"),
    ("actors", &["*"], "actors join the parts"),
    ("client", &["chat", "config"], "the client library must work without a server in it"),
    ("drill", &[], "a drill must not share a mistake with what it examines"),
    ("config", &[], "the config is read by server and client alike, and so knows neither"),
    ("logging", &[], "logging is set up before anything else is there"),
    ("descriptors", &[], "what the system allows concerns the process, not the chat"),
    ("memory", &[], "the allocator's settings concern the process, not the chat"),
    ("mode", &["consensus", "views"], "either core, by the one contract that both speak"),
    ("panics", &[], "the panic hook is set up before anything else is there"),
    ("server", &["*"], "the server joins the parts"),
    ("cli", &["*", "server"], "the command line can start anything"),
    ("lib", &["*", "server", "cli"], "the root of the library"),
    ("main", &["*", "server", "cli"], "the program"),
];

/// Where waiting for a time, and not for an event, is right; and why.
const MAY_SLEEP: &[(&str, &str)] = &[
    ("examples/measure/proc.rs", "a time in which nothing happens is what is measured"),
    ("src/actors/acceptor.rs", "out of descriptors, there is no event for a free one"),
    ("src/actors/courier.rs", "a full disk tells nobody when it has room again"),
    ("src/actors/joining.rs", "who is let in is told to nobody who is not linked: it asks again"),
    ("src/actors/kernel.rs", "the kernel tells nobody when a peer has acknowledged bytes"),
    ("src/actors/listener.rs", "out of descriptors, there is no event for a free one"),
    ("src/actors/peer.rs", "the time between two dials is the point of a back-off"),
    ("src/actors/session/bench.rs", "looks again, within a deadline, at what tells nobody: a mailbox, closed sessions"),
    (
        "src/actors/session/actor_tests.rs",
        "looks again, within a deadline, at what tells nobody: a mailbox, and a reader that has stopped",
    ),
    ("src/actors/store.rs", "a full disk tells nobody when it has room again"),
    ("tests/e2e/limits.rs", "wrong logins come at a rate, which is what the test is about"),
    ("src/cli/found.rs", "that a founding is done is told to nobody who is not a replica: it asks again"),
    ("src/cli/bench/sender.rs", "the pause after a round of replicas of which none answers"),
    ("src/cli/supervised.rs", "an orphan's deadline: the event it waits for ends the process"),
    (
        "src/drill/wait.rs",
        "the one place where a drill looks again, what it examines pushes no events, or lets a time pass that is its subject",
    ),
];

/// Where actix may be imported.
const MAY_USE_ACTIX: [&str; 2] = ["src/actors/", "src/server.rs"];

#[track_caller]
fn assert_none(failures: &[String]) {
    let mut text = String::new();
    for failure in failures {
        writeln!(text, "{failure}").expect("a String takes any text");
    }
    assert!(failures.is_empty(), "\n{text}");
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let Some(module) = module(&source.path) else {
        return Vec::new();
    };
    let Some((_, may, why)) = MAY_IMPORT.iter().find(|(name, ..)| *name == module) else {
        return vec![format!(
            "{}: `{module}` is not in the import table of tests/tidy/main.rs: say there what it may know",
            source.path
        )];
    };
    let is_allowed =
        |name: &str| name == module || may.contains(&name) || may.contains(&"*") && name != "server" && name != "cli";
    imports(source.production())
        .into_iter()
        .filter(|(_, name)| !is_allowed(name))
        .map(|(at, name)| format!("{}: `{module}` imports `{name}`, and may not: {why}", source.at(at)))
        .collect()
}

#[test]
fn imports_keep_to_the_table() {
    assert_none(&sources().iter().flat_map(wrong_imports).collect::<Vec<_>>());
}

fn impurities(source: &Source) -> Vec<String> {
    const IMPURE: [&str; 12] = [
        "tokio",
        "actix",
        "rusqlite",
        "socket2",
        "fastrand",
        "getrandom",
        "SystemTime::now",
        "Instant::now",
        "std::net",
        "std::fs",
        "std::thread",
        "std::env",
    ];
    let pure = ["chat/src/", "src/consensus/", "src/views/", "src/machine/"];
    if !pure.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    IMPURE
        .iter()
        .flat_map(|word| uses(source.production(), word).map(move |at| (at, word)))
        .map(|(at, word)| {
            format!(
                "{}: `{word}` in pure code: what it decides must be the same on every replica and in a simulation",
                source.at(at)
            )
        })
        .collect()
}

#[test]
fn pure_code_touches_nothing_outside() {
    assert_none(&sources().iter().flat_map(impurities).collect::<Vec<_>>());
}

fn strangers_to_actix(source: &Source) -> Vec<String> {
    if !source.is_rust() || MAY_USE_ACTIX.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    ["actix::", "actix_rt::"]
        .iter()
        .flat_map(|word| uses(&source.code, word))
        .map(|at| {
            format!(
                "{}: actix outside src/actors and src/server.rs: decisions stay free of the framework",
                source.at(at)
            )
        })
        .collect()
}

#[test]
fn only_actors_know_actix() {
    assert_none(&sources().iter().flat_map(strangers_to_actix).collect::<Vec<_>>());
}

fn shape(source: &Source) -> Vec<String> {
    let mut failures = Vec::new();
    let lines = source.text.lines().count();
    let is_script = source.path.starts_with("scripts/") || source.path == ".ci/run";
    let (max, why) = if is_script {
        (SCRIPT_LINES_MAX, "what a script decides cannot be tested: move it into the program")
    } else {
        (FILE_LINES_MAX, "it has more than one subject: split it")
    };
    if (source.is_rust() || is_script) && lines > max {
        failures.push(format!("{}:{lines}: more than {max} lines: {why}", source.path));
    }
    if source.is_rust() && !source.text.starts_with("//! ") {
        failures.push(format!("{}:1: no `//!` header: a file opens with what it is for and promises", source.path));
    }
    for (number, line) in source.text.lines().enumerate() {
        let number = number + 1;
        if line.contains('\t') {
            failures.push(format!("{}:{number}: a tab: it looks different to everybody", source.path));
        }
        if line.ends_with(' ') {
            failures.push(format!("{}:{number}: blanks at the end: they make noise in every diff", source.path));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        failures.push(format!("{}:{lines}: no line feed at the end: the next line added changes two", source.path));
    }
    failures
}

#[test]
fn files_have_a_header_and_a_bound_and_no_stray_blanks() {
    assert_none(&sources().iter().flat_map(shape).collect::<Vec<_>>());
}

fn leftovers(source: &Source) -> Vec<String> {
    let panics = "it panics when the reader has gone, and a panic aborts: use `cli::output`";
    let anywhere =
        [("todo!", "a stub called done"), ("unimplemented!", "a stub called done"), ("dbg!", "a finding of yesterday")];
    let in_the_program = [
        ("println!(", panics),
        ("print!(", panics),
        ("unwrap()", "say with `expect` which invariant makes it impossible to fail"),
        ("unwrap_err()", "say with `expect_err` which invariant makes it impossible to fail"),
    ];
    let is_program = ["src/", "chat/src/"].iter().any(|folder| source.path.starts_with(folder));
    let program = if is_program { source.production() } else { "" };
    let rules = anywhere.map(|rule| (source.code.as_str(), rule)).into_iter();
    rules
        .chain(in_the_program.map(|rule| (program, rule)))
        .flat_map(|(code, (word, why))| uses(code, word).map(move |at| format!("{}: `{word}`: {why}", source.at(at))))
        .collect()
}

#[test]
fn nothing_is_left_over() {
    assert_none(&sources().iter().flat_map(leftovers).collect::<Vec<_>>());
}

fn sleeps(source: &Source) -> Vec<String> {
    if MAY_SLEEP.iter().any(|(path, _)| *path == source.path) || !source.is_rust() {
        return Vec::new();
    }
    uses(&source.code, "sleep(")
        .map(|at| {
            format!(
                "{}: a sleep in place of an event: too short on a busy machine, too long on any other; wait for what \
                     you wait for, or add the file to MAY_SLEEP with a reason",
                source.at(at)
            )
        })
        .collect()
}

#[test]
fn nobody_sleeps_where_an_event_would_do() {
    let sources = sources();
    assert_none(&sources.iter().flat_map(sleeps).collect::<Vec<_>>());
    let sleeps_no_more = MAY_SLEEP.iter().filter(|(path, _)| {
        !sources.iter().any(|source| source.path == *path && uses(&source.code, "sleep(").next().is_some())
    });
    let stale: Vec<_> =
        sleeps_no_more.map(|(path, _)| format!("{path}: sleeps no more: take it off MAY_SLEEP")).collect();
    assert_none(&stale);
}

/// Documents that name tests.
const NAME_TESTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "docs/TESTING.md", "docs/MUTANTS.md"];

#[test]
fn what_documents_name_is_there() {
    let all = sources();
    let scripts = std::fs::read_dir("tests/golden").expect("cargo runs tests at the root").flatten();
    let scripts = scripts.filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned));
    let stem =
        |source: &Source| source.path.rsplit('/').next().and_then(|name| name.split('.').next()).map(str::to_owned);
    let stems = all.iter().filter_map(stem).chain(scripts).collect();
    let code: Vec<String> = all.iter().filter(|source| !source.path.ends_with(".md")).map(|s| s.text.clone()).collect();
    let documents = all.iter().filter(|source| NAME_TESTS.contains(&source.path.as_str()));
    let failures = documents.flat_map(|document| {
        let names = docs::names(&document.text);
        let unknown = docs::unknown(&names, &code, &stems);
        let path = &document.path;
        unknown
            .into_iter()
            .map(|name| format!("{path}: there is no `{name}`: what it names holds nothing"))
            .collect::<Vec<_>>()
    });
    assert_none(&failures.collect::<Vec<_>>());
}

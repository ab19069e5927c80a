//! Golden scripts: one situation each, told in commands, and below each command everything that it makes the replicas
//! say to each other, write and decide. Read them like a chat; `UPDATE_GOLDEN=1 cargo test --test golden` rewrites them.
//!
//! ```text
//! cluster 3            three replicas, founded and linked, nobody leads yet; their disks answer at once
//! blank 3              three blank replicas without links
//! link 1 2 | link all  shake hands             cut 1 2 | cut 1   break a link, or all of a replica; loses what is on it
//! elect 1              it is elected by all that it is linked to; what is said on the way is not shown
//! campaign 1           no leader was heard of for long          quiet 2 3     … for the least timeout
//! pulse 1, check 1     a round of pulses, a quorum check is due
//! propose 1 a b        append commands         read 1 7          ask for read 7
//! handover 1, gray 1   as they say
//! deliver all          deliver what is in flight, and what that makes others say, until nobody has anything to say
//! deliver 1 2          only what is in flight from 1 to 2, and what disks answer    lose 1 2   lose it instead
//! disk 2 slow | fast   whether its writes wait for `store 2`, which does the oldest (`store 2 all`: all)
//! turn 2: campaign; read 7; deliver 1 2       several inputs in one turn
//! trim 1 4             it keeps no entry up to 4, which its durable state includes
//! fetched 3            the copy of the state that it fetches is there
//! crash 1, start 1     what the disk had not answered is gone
//! wipe 1               crash, and a new disk   copy 1, restore 1   keep a copy of the disk; crash, and put it back
//! recover 1            crashed: founded anew, as the only voter of another cluster
//! new 4                a machine with an empty disk, started with `--join`
//! join 4 2             it asks 2 to be let in      join 4 2 at h9   … at another address
//! remove 3 2           2 is asked to have 3 removed
//! show                 where everybody stands
//! ```

#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../core_sim/disk.rs"]
mod disk;
mod print;
mod world;

use std::path::Path;

use world::World;

/// Runs a script: its own text again, with what each command gives below it.
fn run(script: &str) -> String {
    let mut world = World::default();
    let mut out = Vec::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            out.push(line.to_owned());
            out.extend(world.run(command).into_iter().map(|said| format!("  {said}")));
        } else if !line.starts_with("  ") {
            out.push(line.to_owned());
        }
    }
    out.join("\n") + "\n"
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|file| file.expect("a file of it").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differ = Vec::new();
    for path in scripts {
        let (name, expected) = (path.display(), std::fs::read_to_string(&path).expect("a script is text"));
        let actual = run(&expected);
        if actual == expected {
            continue;
        }
        if update {
            std::fs::write(&path, actual).expect("the script can be rewritten");
            continue;
        }
        let line = actual.lines().zip(expected.lines()).take_while(|(a, e)| a == e).count();
        let (got, want) = (actual.lines().nth(line), expected.lines().nth(line));
        differ.push(format!("{name}:{}\n  expected {want:?}\n  got      {got:?}", line + 1));
    }
    assert!(differ.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites them, if that is what should happen", differ.join("\n"));
}

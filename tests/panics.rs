//! A panic in any thread ends the process, and says what the process was.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use plainsong::panics;

/// Set in the process that panics: this test program, started once more.
const PANIC_HERE: &str = "PLAINSONG_TEST_PANICS";
const SIGABRT: i32 = 6;

#[test]
fn a_panic_of_any_thread_aborts_and_tells_the_context() {
    if std::env::var_os(PANIC_HERE).is_some() {
        panics::install_hook();
        panics::set_panic_context(|| "node 3, term 7, index 120".to_owned());
        // Without the hook the panic would end here, in the thread's result, and the test would pass.
        let _ = thread::spawn(|| panic!("an invariant broke")).join();
        return;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_panic_of_any_thread_aborts_and_tells_the_context", "--nocapture"])
        .env(PANIC_HERE, "1")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    for part in ["an invariant broke", "tests/panics.rs:", "plainsong: panicked at node 3, term 7, index 120"] {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
}

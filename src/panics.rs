//! What a panic means here: a bug, told with all that helps to find it, and the end of the process.
//!
//! Actors, their arbiters and the store's thread each catch or outlive a panic of their own accord, and leave a replica
//! that still answers while a part of it is gone: a zombie, which is worse than a crash that the others see at once.
//! So whichever thread panics first takes the process with it. (`panic = "abort"` in the release profile does the
//! same; the hook holds for every profile and adds the context.)

use std::io::Write;
use std::panic;
use std::process;
use std::sync::Mutex;

type Describe = Box<dyn Fn() -> String + Send>;

static CONTEXT: Mutex<Option<Describe>> = Mutex::new(None);

/// Says what the process was when it panicked: for a server, its node, term and index. Called only in a panic, and from
/// whichever thread that is, so it should read a few atomics and lock nothing.
pub fn set_panic_context(describe: impl Fn() -> String + Send + 'static) {
    // A poisoned lock is a panic under way, which has no use for another context.
    if let Ok(mut context) = CONTEXT.lock() {
        *context = Some(Box::new(describe));
    }
}

/// From here on a panic of any thread prints its message, place and context, and aborts the process.
pub fn install_hook() {
    let print_message_and_place = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print_message_and_place(info);
        // `try_lock`: the thread that panicked may be the one that holds it.
        if let Ok(context) = CONTEXT.try_lock()
            && let Some(describe) = context.as_ref()
        {
            // Nobody is left to tell that standard error is closed.
            let _ = writeln!(std::io::stderr(), "plainsong: panicked at {}", describe());
        }
        process::abort();
    }));
}

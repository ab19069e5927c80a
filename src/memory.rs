//! The process's allocator, and what is asked of it. It is mimalloc, for SQLite's C code too: most blocks are small, and
//! freed by another thread than made them. Without huge pages: an idle replica would use little of them (19 MiB resident
//! in place of 10).

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives freed memory back to the system. For whoever has just freed megabytes: by itself the allocator does so at a later
/// request, which an idle replica does not make (after a burst of password hashes 40 MiB stayed for good).
pub fn give_back() {
    #[allow(unsafe_code)]
    // SAFETY: it takes no memory of ours, and may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

//! The process's allocators, and what is asked of them. Ours is mimalloc: most blocks are small and freed by another
//! thread than made them. SQLite's C code has glibc's.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A freed block of this size goes back to the system at once.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD_BYTES: libc::c_int = 1 << 20;
/// So much freed memory at a heap's end is kept for the next allocation, no more.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD_BYTES: libc::c_int = 4 << 20;

/// Keeps glibc from learning that large blocks come and go, and then keeping them; and mimalloc from taking pages of
/// 2 MiB, of which an idle replica uses little (19 MiB resident; 10 with this).
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` takes two numbers and touches only the allocator's own settings. No thread but this one runs.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
    }
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: the option takes numbers alone, and says only how the kernel maps memory from now on.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Gives freed memory back to the system. For whoever has just freed megabytes: by itself the allocator does so at a later
/// request, which an idle replica does not make (after a burst of password hashes 40 MiB stayed for good).
pub fn give_back() {
    #[allow(unsafe_code)]
    // SAFETY: it takes no memory of ours, and may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

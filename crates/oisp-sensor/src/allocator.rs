//! What the C library's allocator keeps of memory that was given back.

/// Lets memory that is given back go back to the kernel, so that one large message does not cost its size for good.
///
/// glibc raises the size from which it maps memory (and gives it back at once) to that of the largest piece that was ever
/// freed, and keeps an arena for each thread: both are fixed here (mallopt(3)).
pub(crate) fn bound() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, 256 << 10), (libc::M_TRIM_THRESHOLD, 1 << 20), (libc::M_ARENA_MAX, 2)]
    {
        // SAFETY: called before any other thread runs, with parameters of mallopt(3). A refusal changes nothing.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back what is free between pieces in use: many small ones leave holes that glibc keeps by itself.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

//! Structures of the kernel, read at the offsets that BTF gives.

use aya_ebpf::helpers::bpf_probe_read_kernel;

/// What can be read of a kernel structure, with the value that stands for "could not be read".
pub(crate) trait Field: Copy {
    const UNREADABLE: Self;
}

impl Field for u32 {
    const UNREADABLE: Self = 0;
}

impl Field for i32 {
    const UNREADABLE: Self = 0;
}

impl Field for u64 {
    const UNREADABLE: Self = 0;
}

impl Field for u16 {
    const UNREADABLE: Self = 0;
}

impl Field for u8 {
    const UNREADABLE: Self = 0;
}

impl Field for *const u8 {
    const UNREADABLE: Self = core::ptr::null();
}

/// A field of a kernel structure, at the offset that BTF gives it.
#[inline(always)]
pub(crate) fn field<T: Field>(structure: *const u8, offset: u32) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(structure.wrapping_add(offset as usize).cast::<T>()) }
        .unwrap_or(T::UNREADABLE)
}

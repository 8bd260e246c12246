//! What user space says about the place that a program is attached to.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use oisp_ebpf_common::ProbeCookie;

use crate::settings::COOKIES;

/// The cookie of the probe that runs; all zero where the kernel has none (before 5.15). There the call is never reached,
/// and the verifier removes it before it could find that the helper is unknown.
#[inline(always)]
pub(crate) fn of(context: &impl EbpfContext) -> ProbeCookie {
    if COOKIES.load() == 0 {
        return ProbeCookie { file: 0, pushed_words: 0, arguments: 0 };
    }
    // SAFETY: the context is the one that the kernel passed to this program.
    ProbeCookie::unpack(unsafe { bpf_get_attach_cookie(context.as_ptr()) })
}

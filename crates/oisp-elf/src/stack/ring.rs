//! rustls over ring, by symbols: the functions that ring's algorithms point to.
//!
//! ring's `Algorithm` holds pointers to a function that seals and one that opens, so that every program which uses it has
//! both, not inlined into their callers, with the arguments where Rust puts those of a pointed-to function: `key: &KeyInner,
//! nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8]`, for opening `src: RangeFrom<usize>`, `cpu_features` (of no size). They
//! were the same from ring 0.17.0 to 0.17.14, in `aead::aes_gcm` or `aead::algorithm`. Rust promises none of it: the kernel
//! program takes a call for a record only where the additional data is a record's header that names the length of what is
//! sealed.

use super::rustls::refuse_ring;
use crate::analysis::{Function, Library, Refusal, Stack, named_functions};
use crate::image::Parsed;

/// The path as Rust's mangling has it, each name with its length before it; in the older scheme and in the newer.
const MODULE: &[u8] = b"4ring4aead";
const NAMES: &[(&[u8], Function)] = &[
    (b"12aes_gcm_seal", Function::RingSeal),
    (b"12aes_gcm_open", Function::RingOpen),
    (b"22chacha20_poly1305_seal", Function::RingSeal),
    (b"22chacha20_poly1305_open", Function::RingOpen),
];

pub(crate) fn find(parsed: &Parsed<'_>) -> Result<Option<Stack>, Refusal> {
    let functions = named_functions(parsed, function)
        .map_err(|reason| Refusal { library: Library::RustlsRing, reason })?;
    let has = |function| functions.iter().any(|site| site.function == function);
    if has(Function::RingSeal) && has(Function::RingOpen) {
        return Ok(Some(Stack { library: Library::RustlsRing, functions }));
    }
    refuse_ring(parsed)
}

fn function(name: &[u8]) -> Option<Function> {
    let module = memchr::memmem::find(name, MODULE)? + MODULE.len();
    let path = &name[module..];
    NAMES.iter().find_map(|(known, function)| {
        let end = memchr::memmem::find(path, known)? + known.len();
        // A closure in it, or a function of it, has a name after it; the hash of the older scheme is `17h…E`.
        let rest = &path[end..];
        let is_last = rest.is_empty() || rest.starts_with(b"17h") || rest.starts_with(b".");
        // Directly in a module of `aead`, which is one name with its length.
        let is_direct = path[..end - known.len()].iter().filter(|byte| byte.is_ascii_digit()).count() <= 4;
        (is_last && is_direct).then_some(*function)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_both_schemes_of_mangling_and_in_every_module_they_lived_in() {
        for (name, expected) in [
            ("_ZN4ring4aead9algorithm12aes_gcm_open17hb81aa0671d279735E", Function::RingOpen),
            ("_ZN4ring4aead7aes_gcm12aes_gcm_seal17h9b50c1ede264b47eE", Function::RingSeal),
            (
                "_ZN4ring4aead9algorithm22chacha20_poly1305_seal17h590e08829f836a7cE.llvm.912",
                Function::RingSeal,
            ),
            ("_RNvNtNtCsgS4vmmkNpCd_4ring4aead9algorithm22chacha20_poly1305_open", Function::RingOpen),
        ] {
            assert_eq!(function(name.as_bytes()), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_functions_of_ring_and_of_others_are_not() {
        for name in [
            "_ZN4ring4aead7aes_gcm4seal17h0123456789abcdefE",
            "_ZN4ring4aead9algorithm12aes_gcm_seal28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
            "_ZN4ring2ec9algorithm12aes_gcm_seal17h0123456789abcdefE",
            "ring_core_0_17_14__chacha20_poly1305_open_avx2",
            "",
        ] {
            assert_eq!(function(name.as_bytes()), None, "{name}");
        }
    }
}

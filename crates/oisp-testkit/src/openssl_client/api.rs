//! The functions of `libssl` and `libcrypto` that are called, as their C headers declare them.

use std::ffi::{c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void};
use std::path::Path;

use libloading::Library;

use super::load::OpenSslError;

pub(super) type SslCtx = c_void;
pub(super) type SslObject = c_void;
pub(super) type Bio = c_void;
type Method = c_void;
type VerifyParam = c_void;
type VerifyCallback = Option<unsafe extern "C" fn(c_int, *mut c_void) -> c_int>;

pub(super) const SSL_VERIFY_PEER: c_int = 1;
pub(super) const SSL_FILETYPE_PEM: c_int = 1;
pub(super) const SSL_CTRL_MODE: c_int = 33;
pub(super) const SSL_MODE_ENABLE_PARTIAL_WRITE: c_long = 1;
pub(super) const SSL_CTRL_SET_TLSEXT_HOSTNAME: c_int = 55;
pub(super) const TLSEXT_NAMETYPE_HOST_NAME: c_long = 0;
pub(super) const SSL_ERROR_SSL: c_int = 1;
pub(super) const SSL_ERROR_WANT_READ: c_int = 2;
pub(super) const SSL_ERROR_WANT_WRITE: c_int = 3;
pub(super) const SSL_ERROR_ZERO_RETURN: c_int = 6;

/// Declares the table of functions and how each is found.
macro_rules! functions {
    ($($library:ident $name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// Pointers into the two libraries, which stay loaded for the life of the process.
        #[expect(non_snake_case, reason = "the functions keep their C names")]
        pub(super) struct Api {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Api {
            /// # Safety
            /// The libraries must be OpenSSL's and must never be unloaded while the pointers are used.
            pub(super) unsafe fn find(libssl: &Library, libcrypto: &Library) -> Result<Self, OpenSslError> {
                Ok(Self {
                    $($name: {
                        let (library, file) = match stringify!($library) {
                            "ssl" => (libssl, "libssl"),
                            _ => (libcrypto, "libcrypto"),
                        };
                        // SAFETY: the signature is the one in OpenSSL's headers, the same in 1.1 and 3.
                        let symbol = unsafe { library.get(stringify!($name)) };
                        *symbol.map_err(|_| OpenSslError::Symbol { file, name: stringify!($name) })?
                    },)*
                })
            }
        }
    };
}

functions! {
    ssl TLS_client_method() -> *const Method;
    ssl TLS_server_method() -> *const Method;
    ssl SSL_CTX_new(*const Method) -> *mut SslCtx;
    ssl SSL_CTX_free(*mut SslCtx);
    ssl SSL_CTX_ctrl(*mut SslCtx, c_int, c_long, *mut c_void) -> c_long;
    ssl SSL_CTX_set_verify(*mut SslCtx, c_int, VerifyCallback);
    ssl SSL_CTX_load_verify_locations(*mut SslCtx, *const c_char, *const c_char) -> c_int;
    ssl SSL_CTX_use_certificate_chain_file(*mut SslCtx, *const c_char) -> c_int;
    ssl SSL_CTX_use_PrivateKey_file(*mut SslCtx, *const c_char, c_int) -> c_int;
    ssl SSL_CTX_set_alpn_protos(*mut SslCtx, *const c_uchar, c_uint) -> c_int;
    ssl SSL_new(*mut SslCtx) -> *mut SslObject;
    ssl SSL_free(*mut SslObject);
    ssl SSL_ctrl(*mut SslObject, c_int, c_long, *mut c_void) -> c_long;
    ssl SSL_set1_host(*mut SslObject, *const c_char) -> c_int;
    ssl SSL_get0_param(*mut SslObject) -> *mut VerifyParam;
    ssl SSL_set_fd(*mut SslObject, c_int) -> c_int;
    ssl SSL_set_bio(*mut SslObject, *mut Bio, *mut Bio);
    ssl SSL_set_connect_state(*mut SslObject);
    ssl SSL_set_accept_state(*mut SslObject);
    ssl SSL_do_handshake(*mut SslObject) -> c_int;
    ssl SSL_read(*mut SslObject, *mut c_void, c_int) -> c_int;
    ssl SSL_write(*mut SslObject, *const c_void, c_int) -> c_int;
    ssl SSL_read_ex(*mut SslObject, *mut c_void, usize, *mut usize) -> c_int;
    ssl SSL_write_ex(*mut SslObject, *const c_void, usize, *mut usize) -> c_int;
    ssl SSL_shutdown(*mut SslObject) -> c_int;
    ssl SSL_get_error(*const SslObject, c_int) -> c_int;
    ssl SSL_get_verify_result(*const SslObject) -> c_long;
    crypto BIO_new(*const c_void) -> *mut Bio;
    crypto BIO_s_mem() -> *const c_void;
    crypto BIO_read(*mut Bio, *mut c_void, c_int) -> c_int;
    crypto BIO_write(*mut Bio, *const c_void, c_int) -> c_int;
    crypto BIO_free(*mut Bio) -> c_int;
    crypto ERR_clear_error();
    crypto ERR_get_error() -> c_ulong;
    crypto ERR_error_string_n(c_ulong, *mut c_char, usize);
    crypto X509_VERIFY_PARAM_set1_ip_asc(*mut VerifyParam, *const c_char) -> c_int;
    crypto X509_verify_cert_error_string(c_long) -> *const c_char;
    crypto OpenSSL_version(c_int) -> *const c_char;
}

/// Opens a library by name or path.
pub(super) fn open(file: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: OpenSSL's constructors only set up its own state; a path given by the caller is a copy of it.
    unsafe { Library::new(file) }
}

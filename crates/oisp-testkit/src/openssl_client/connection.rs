//! Contexts and connections.

use std::ffi::{CStr, CString, c_int, c_void};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use super::api::{
    Api, Bio, SSL_CTRL_MODE, SSL_CTRL_SET_TLSEXT_HOSTNAME, SSL_ERROR_SSL, SSL_ERROR_WANT_READ,
    SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, SSL_FILETYPE_PEM, SSL_MODE_ENABLE_PARTIAL_WRITE,
    SSL_VERIFY_PEER, SslCtx, SslObject, TLSEXT_NAMETYPE_HOST_NAME,
};
use super::load::{OpenSsl, OpenSslError};
use crate::endpoint::Endpoint;

/// Which functions move plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Call {
    /// `SSL_read` and `SSL_write`.
    #[default]
    Plain,
    /// `SSL_read_ex` and `SSL_write_ex`.
    Ex,
}

/// An `SSL_CTX`: certificates and settings of the connections made from it.
pub struct Context {
    api: Arc<Api>,
    raw: NonNull<SslCtx>,
}

/// One `SSL` object. Dropping it calls `SSL_free`; its address may then be given to the next one.
pub struct Ssl {
    api: Arc<Api>,
    raw: NonNull<SslObject>,
    transport: Transport,
    call: Call,
}

enum Transport {
    /// Owns the socket, which outlives the `SSL` object that writes to its descriptor.
    Socket(TcpStream),
    /// The BIOs belong to the `SSL` object: what it reads from, and what it writes to.
    Memory { incoming: NonNull<Bio>, outgoing: NonNull<Bio> },
}

// SAFETY: OpenSSL allows an object to be used by any thread, one at a time; none is `Sync`.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Send for Ssl {}

impl OpenSsl {
    /// A context for clients that trust only the authorities in `ca_file` and speak HTTP/1.1.
    ///
    /// # Errors
    /// When the file can't be read or holds no certificate.
    pub fn client_context(&self, ca_file: &Path) -> Result<Context, OpenSslError> {
        let file = c_path(ca_file)?;
        // SAFETY: TLS_client_method has no preconditions.
        let context = self.context(unsafe { (self.api.TLS_client_method)() })?;
        let protocols = b"\x08http/1.1";
        // SAFETY: the context is alive, and so are the file's name and the protocol list during the calls.
        unsafe {
            (self.api.SSL_CTX_set_verify)(context.raw.as_ptr(), SSL_VERIFY_PEER, None);
            let loaded = (self.api.SSL_CTX_load_verify_locations)(
                context.raw.as_ptr(),
                file.as_ptr(),
                std::ptr::null(),
            );
            self.api.succeeded("SSL_CTX_load_verify_locations", loaded)?;
            // Returns 0 on success, unlike its neighbours.
            let refused = (self.api.SSL_CTX_set_alpn_protos)(context.raw.as_ptr(), protocols.as_ptr(), 9);
            self.api.succeeded("SSL_CTX_set_alpn_protos", c_int::from(refused == 0))?;
        }
        Ok(context)
    }

    /// A context for servers with a certificate and key in PEM files.
    ///
    /// # Errors
    /// When a file can't be read or the two don't belong together.
    pub fn server_context(&self, certificate: &Path, key: &Path) -> Result<Context, OpenSslError> {
        let (certificate, key) = (c_path(certificate)?, c_path(key)?);
        // SAFETY: TLS_server_method has no preconditions.
        let context = self.context(unsafe { (self.api.TLS_server_method)() })?;
        let raw = context.raw.as_ptr();
        // SAFETY: the context and both names are alive during the calls.
        unsafe {
            let used = (self.api.SSL_CTX_use_certificate_chain_file)(raw, certificate.as_ptr());
            self.api.succeeded("SSL_CTX_use_certificate_chain_file", used)?;
            let used = (self.api.SSL_CTX_use_PrivateKey_file)(raw, key.as_ptr(), SSL_FILETYPE_PEM);
            self.api.succeeded("SSL_CTX_use_PrivateKey_file", used)?;
        }
        Ok(context)
    }

    fn context(&self, method: *const c_void) -> Result<Context, OpenSslError> {
        // SAFETY: the method comes from this library.
        let raw = unsafe { (self.api.SSL_CTX_new)(method) };
        let raw = NonNull::new(raw).ok_or_else(|| self.api.failed("SSL_CTX_new"))?;
        Ok(Context { api: Arc::clone(&self.api), raw })
    }
}

impl Context {
    /// Lets `SSL_write` return after part of the data (`SSL_MODE_ENABLE_PARTIAL_WRITE`), as many runtimes do.
    pub fn enable_partial_writes(&mut self) {
        // SAFETY: the context is alive.
        unsafe {
            (self.api.SSL_CTX_ctrl)(
                self.raw.as_ptr(),
                SSL_CTRL_MODE,
                SSL_MODE_ENABLE_PARTIAL_WRITE,
                std::ptr::null_mut(),
            );
        }
    }

    /// Connects, verifies the server's certificate for the endpoint's host, and ends the handshake.
    ///
    /// # Errors
    /// A failed connection or handshake, or a refused certificate.
    pub fn connect(&self, endpoint: &Endpoint) -> Result<Ssl, OpenSslError> {
        let mut ssl = self.client(endpoint.connect()?, &endpoint.host)?;
        ssl.handshake()?;
        Ok(ssl)
    }

    /// A client on a connected socket, before the handshake.
    ///
    /// # Errors
    /// When OpenSSL can't make it, or the host can't be a name.
    pub fn client(&self, stream: TcpStream, host: &str) -> Result<Ssl, OpenSslError> {
        let ssl = self.over_socket(stream)?;
        ssl.expect_host(host)?;
        ssl.set_client();
        Ok(ssl)
    }

    /// A server on an accepted socket, before the handshake.
    ///
    /// # Errors
    /// When OpenSSL can't make it.
    pub fn server(&self, stream: TcpStream) -> Result<Ssl, OpenSslError> {
        let ssl = self.over_socket(stream)?;
        ssl.set_server();
        Ok(ssl)
    }

    /// A client over memory BIOs, before the handshake.
    ///
    /// # Errors
    /// When OpenSSL can't make it, or the host can't be a name.
    pub fn memory_client(&self, host: &str) -> Result<Ssl, OpenSslError> {
        let ssl = self.over_memory()?;
        ssl.expect_host(host)?;
        ssl.set_client();
        Ok(ssl)
    }

    /// A server over memory BIOs, before the handshake.
    ///
    /// # Errors
    /// When OpenSSL can't make it.
    pub fn memory_server(&self) -> Result<Ssl, OpenSslError> {
        let ssl = self.over_memory()?;
        ssl.set_server();
        Ok(ssl)
    }

    fn object(&self) -> Result<NonNull<SslObject>, OpenSslError> {
        // SAFETY: the context is alive.
        let raw = unsafe { (self.api.SSL_new)(self.raw.as_ptr()) };
        NonNull::new(raw).ok_or_else(|| self.api.failed("SSL_new"))
    }

    fn over_socket(&self, stream: TcpStream) -> Result<Ssl, OpenSslError> {
        let raw = self.object()?;
        let descriptor = stream.as_raw_fd();
        let ssl = Ssl {
            api: Arc::clone(&self.api),
            raw,
            transport: Transport::Socket(stream),
            call: Call::default(),
        };
        // SAFETY: the object is alive; the descriptor stays open as long as it, both being owned by `ssl`.
        let set = unsafe { (self.api.SSL_set_fd)(raw.as_ptr(), descriptor) };
        self.api.succeeded("SSL_set_fd", set)?;
        Ok(ssl)
    }

    fn over_memory(&self) -> Result<Ssl, OpenSslError> {
        let incoming = self.api.memory_bio()?;
        let outgoing = self.api.memory_bio().and_then(|outgoing| Ok((outgoing, self.object()?)));
        match outgoing {
            Ok((outgoing, raw)) => {
                // SAFETY: all three are alive; the object takes the BIOs over and frees them with itself.
                unsafe { (self.api.SSL_set_bio)(raw.as_ptr(), incoming.as_ptr(), outgoing.as_ptr()) };
                Ok(Ssl {
                    api: Arc::clone(&self.api),
                    raw,
                    transport: Transport::Memory { incoming, outgoing },
                    call: Call::default(),
                })
            }
            Err(error) => {
                // SAFETY: nothing else owns this BIO yet.
                unsafe { (self.api.BIO_free)(incoming.as_ptr()) };
                Err(error)
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by SSL_CTX_new and freed once; connections hold their own reference.
        unsafe { (self.api.SSL_CTX_free)(self.raw.as_ptr()) };
    }
}

impl Ssl {
    /// Chooses the functions that move plaintext.
    pub fn set_call(&mut self, call: Call) {
        self.call = call;
    }

    /// The object's address, by which probes know the connection.
    #[must_use]
    pub fn address(&self) -> usize {
        self.raw.as_ptr() as usize
    }

    /// The socket; `None` over memory BIOs.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Socket(stream) => Some(stream),
            Transport::Memory { .. } => None,
        }
    }

    /// Goes on with the handshake until it is done.
    ///
    /// # Errors
    /// A refused certificate; `WouldBlock` inside [`OpenSslError::Io`] when the transport has to move first.
    pub fn handshake(&mut self) -> Result<(), OpenSslError> {
        self.api.clear_errors();
        // SAFETY: the object is alive and in client or server state.
        let result = unsafe { (self.api.SSL_do_handshake)(self.raw.as_ptr()) };
        if result == 1 {
            return Ok(());
        }
        let error = self.failure(result, "SSL_do_handshake");
        // SAFETY: the object is alive.
        let verified = unsafe { (self.api.SSL_get_verify_result)(self.raw.as_ptr()) };
        if verified != 0 && error.kind() != io::ErrorKind::WouldBlock {
            // SAFETY: the function returns a static string for every code.
            let reason = unsafe { CStr::from_ptr((self.api.X509_verify_cert_error_string)(verified)) };
            return Err(OpenSslError::Certificate { reason: reason.to_string_lossy().into_owned() });
        }
        Err(OpenSslError::Io(error))
    }

    /// One call of `SSL_write` or `SSL_write_ex`. After `WouldBlock` it must be repeated with the same bytes at
    /// the same address; anything else is refused by OpenSSL.
    ///
    /// # Errors
    /// `WouldBlock` for `WANT_READ` and `WANT_WRITE`, `BrokenPipe` when the peer closed, else what OpenSSL says.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.api.clear_errors();
        let data = bytes.as_ptr().cast();
        match self.call {
            Call::Plain => {
                let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
                // SAFETY: the object is alive and `length` bytes are readable.
                let written = unsafe { (self.api.SSL_write)(self.raw.as_ptr(), data, length) };
                usize::try_from(written)
                    .ok()
                    .filter(|written| *written > 0)
                    .ok_or_else(|| self.failure(written, "SSL_write"))
            }
            Call::Ex => {
                let mut written = 0;
                // SAFETY: the object is alive, the bytes are readable and `written` is writable.
                let result = unsafe {
                    (self.api.SSL_write_ex)(self.raw.as_ptr(), data, bytes.len(), &raw mut written)
                };
                if result == 1 { Ok(written) } else { Err(self.failure(result, "SSL_write_ex")) }
            }
        }
    }

    /// One call of `SSL_read` or `SSL_read_ex`; 0 when the peer closed with a notice.
    ///
    /// # Errors
    /// `WouldBlock` for `WANT_READ` and `WANT_WRITE`, else what OpenSSL says.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.api.clear_errors();
        let data = buffer.as_mut_ptr().cast();
        let (length, result, call) = match self.call {
            Call::Plain => {
                let room = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
                // SAFETY: the object is alive and `room` bytes are writable.
                let length = unsafe { (self.api.SSL_read)(self.raw.as_ptr(), data, room) };
                (usize::try_from(length).unwrap_or(0), length, "SSL_read")
            }
            Call::Ex => {
                let mut length = 0;
                // SAFETY: the object is alive, the buffer is writable and so is `length`.
                let result =
                    unsafe { (self.api.SSL_read_ex)(self.raw.as_ptr(), data, buffer.len(), &raw mut length) };
                (length, result, "SSL_read_ex")
            }
        };
        if result > 0 {
            return Ok(length);
        }
        // SAFETY: the object is alive and this thread's last call was on it.
        if unsafe { (self.api.SSL_get_error)(self.raw.as_ptr(), result) } == SSL_ERROR_ZERO_RETURN {
            return Ok(0);
        }
        Err(self.failure(result, call))
    }

    /// Sends the closing notice; the peer's is not waited for.
    pub fn close(&mut self) {
        self.api.clear_errors();
        // SAFETY: the object is alive. A peer that is gone needs no notice.
        unsafe { (self.api.SSL_shutdown)(self.raw.as_ptr()) };
        self.api.clear_errors();
    }

    /// Hands ciphertext from the peer to the object; memory BIOs only, nothing happens otherwise.
    ///
    /// # Errors
    /// Out of memory.
    pub fn feed(&mut self, mut ciphertext: &[u8]) -> Result<(), OpenSslError> {
        let Transport::Memory { incoming, .. } = self.transport else { return Ok(()) };
        while !ciphertext.is_empty() {
            let length = c_int::try_from(ciphertext.len()).unwrap_or(c_int::MAX);
            // SAFETY: the BIO lives as long as the object, and `length` bytes are readable.
            let written =
                unsafe { (self.api.BIO_write)(incoming.as_ptr(), ciphertext.as_ptr().cast(), length) };
            let written = usize::try_from(written).ok().filter(|written| *written > 0);
            ciphertext = &ciphertext[written.ok_or_else(|| self.api.failed("BIO_write"))?..];
        }
        Ok(())
    }

    /// Takes the ciphertext that is to go to the peer; memory BIOs only, else empty.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        let Transport::Memory { outgoing, .. } = self.transport else { return ciphertext };
        let mut buffer = vec![0_u8; 16 * 1024];
        loop {
            // SAFETY: the BIO lives as long as the object, and the buffer has 16 KiB.
            let length =
                unsafe { (self.api.BIO_read)(outgoing.as_ptr(), buffer.as_mut_ptr().cast(), 16 * 1024) };
            match usize::try_from(length) {
                Ok(length) if length > 0 => ciphertext.extend_from_slice(&buffer[..length]),
                _ => return ciphertext,
            }
        }
    }

    /// Names the host that the certificate must be valid for, in the ClientHello too unless it is an address.
    fn expect_host(&self, host: &str) -> Result<(), OpenSslError> {
        let name = c_string(host)?;
        // SAFETY: the object is alive, and OpenSSL copies the name.
        unsafe {
            if host.parse::<IpAddr>().is_ok() {
                let param = (self.api.SSL_get0_param)(self.raw.as_ptr());
                let set = (self.api.X509_VERIFY_PARAM_set1_ip_asc)(param, name.as_ptr());
                return self.api.succeeded("X509_VERIFY_PARAM_set1_ip_asc", set);
            }
            let set = (self.api.SSL_set1_host)(self.raw.as_ptr(), name.as_ptr());
            self.api.succeeded("SSL_set1_host", set)?;
            let set = (self.api.SSL_ctrl)(
                self.raw.as_ptr(),
                SSL_CTRL_SET_TLSEXT_HOSTNAME,
                TLSEXT_NAMETYPE_HOST_NAME,
                name.as_ptr().cast_mut().cast(),
            );
            self.api.succeeded("SSL_set_tlsext_host_name", c_int::from(set == 1))
        }
    }

    fn set_client(&self) {
        // SAFETY: the object is alive.
        unsafe { (self.api.SSL_set_connect_state)(self.raw.as_ptr()) };
    }

    fn set_server(&self) {
        // SAFETY: the object is alive.
        unsafe { (self.api.SSL_set_accept_state)(self.raw.as_ptr()) };
    }

    /// What a result that is no success means. To be asked right after the call: it looks at `errno`.
    fn failure(&self, result: c_int, call: &'static str) -> io::Error {
        let system = io::Error::last_os_error();
        // SAFETY: the object is alive and this thread's last call was on it.
        match unsafe { (self.api.SSL_get_error)(self.raw.as_ptr(), result) } {
            SSL_ERROR_WANT_READ => io::Error::new(io::ErrorKind::WouldBlock, "SSL_ERROR_WANT_READ"),
            SSL_ERROR_WANT_WRITE => io::Error::new(io::ErrorKind::WouldBlock, "SSL_ERROR_WANT_WRITE"),
            SSL_ERROR_ZERO_RETURN => io::Error::new(io::ErrorKind::BrokenPipe, "the peer closed"),
            SSL_ERROR_SSL => {
                let reason = self.api.error_queue();
                // What OpenSSL 3 says where 1.1 reports a system call that returned 0.
                if reason.contains("unexpected eof") {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed without a notice")
                } else {
                    io::Error::other(format!("{call}: {reason}"))
                }
            }
            _ if system.raw_os_error() == Some(0) => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed without a notice")
            }
            _ => system,
        }
    }
}

impl Read for Ssl {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }
}

impl Write for Ssl {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    /// OpenSSL keeps nothing back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ssl {
    fn drop(&mut self) {
        // SAFETY: made by SSL_new and freed once; it frees its BIOs. The socket is closed after it.
        unsafe { (self.api.SSL_free)(self.raw.as_ptr()) };
    }
}

impl Api {
    fn memory_bio(&self) -> Result<NonNull<Bio>, OpenSslError> {
        // SAFETY: neither call has preconditions.
        let bio = unsafe { (self.BIO_new)((self.BIO_s_mem)()) };
        NonNull::new(bio).ok_or_else(|| self.failed("BIO_new"))
    }

    /// An old error left in the queue would be taken for the next call's.
    fn clear_errors(&self) {
        // SAFETY: touches this thread's queue only.
        unsafe { (self.ERR_clear_error)() };
    }

    fn succeeded(&self, call: &'static str, result: c_int) -> Result<(), OpenSslError> {
        if result == 1 { Ok(()) } else { Err(self.failed(call)) }
    }

    fn failed(&self, call: &'static str) -> OpenSslError {
        OpenSslError::Call { call, reason: self.error_queue() }
    }

    fn error_queue(&self) -> String {
        let mut reasons = Vec::new();
        loop {
            // SAFETY: touches this thread's queue only.
            let code = unsafe { (self.ERR_get_error)() };
            if code == 0 {
                break;
            }
            let mut text = [0_u8; 256];
            // SAFETY: the buffer has 256 bytes and the function ends the text with a zero byte.
            unsafe { (self.ERR_error_string_n)(code, text.as_mut_ptr().cast(), text.len()) };
            if let Ok(text) = CStr::from_bytes_until_nul(&text) {
                reasons.push(text.to_string_lossy().into_owned());
            }
        }
        if reasons.is_empty() { "no reason given".to_owned() } else { reasons.join("; ") }
    }
}

fn c_path(path: &Path) -> Result<CString, OpenSslError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| OpenSslError::ZeroByte(path.display().to_string()))
}

fn c_string(text: &str) -> Result<CString, OpenSslError> {
    CString::new(text).map_err(|_| OpenSslError::ZeroByte(text.to_owned()))
}

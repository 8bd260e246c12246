//! Which kernel program goes to which function.

use oisp_elf::Function;

/// The kernel programs of one function of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probes {
    /// Attached where the function begins.
    pub(crate) entry: &'static str,
    /// Attached to its return, where that is needed.
    pub(crate) at_return: Option<&'static str>,
}

/// The one return program of all functions that transfer bytes.
const RETURN: &str = "ssl_return";

/// The return program of the functions that open a record.
const AEAD_RETURN: &str = "aead_opened";

/// The programs for a function; `None` where there is none for it.
pub(crate) fn probes(function: Function) -> Option<Probes> {
    let (entry, at_return) = match function {
        Function::SslRead => ("ssl_read", Some(RETURN)),
        Function::SslReadEx => ("ssl_read_ex", Some(RETURN)),
        Function::SslWrite => ("ssl_write", Some(RETURN)),
        Function::SslWriteEx => ("ssl_write_ex", Some(RETURN)),
        Function::SslWriteEx2 => ("ssl_write_ex2", Some(RETURN)),
        // With the same arguments: what counts is where the number of bytes is written.
        Function::SslReadInternal => ("ssl_read_ex", Some(RETURN)),
        Function::SslWriteInternal => ("ssl_write_ex2", Some(RETURN)),
        Function::SslFree => ("ssl_free", None),
        Function::SslClear => ("ssl_clear", None),
        Function::AeadSeal => ("aead_seal", None),
        Function::AeadSealScatter => ("aead_seal_scatter", None),
        Function::AeadOpen => ("aead_open", Some(AEAD_RETURN)),
        Function::AeadOpenGather => ("aead_open_gather", Some(AEAD_RETURN)),
        Function::SslNew
        | Function::GoRead
        | Function::GoWrite
        | Function::GoClose
        | Function::RingSeal
        | Function::RingOpen => return None,
    };
    Some(Probes { entry, at_return })
}

/// All programs that are attached to functions.
pub(crate) const UPROBES: &[&str] = &[
    "ssl_read",
    "ssl_read_ex",
    "ssl_write",
    "ssl_write_ex",
    "ssl_write_ex2",
    RETURN,
    "ssl_free",
    "ssl_clear",
    "aead_seal",
    "aead_seal_scatter",
    "aead_open",
    "aead_open_gather",
    AEAD_RETURN,
];

/// The programs of the process tracepoints, with the tracepoint of each.
pub(crate) const TRACEPOINTS: &[(&str, &str)] = &[
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
];

/// The programs of the socket tracepoints. The end of sockets first: what is named later must be missed by none.
pub(crate) const SOCKET_TRACEPOINTS: &[(&str, &str)] = &[
    ("socket_state", "inet_sock_set_state"),
    ("socket_received", "sock_recv_length"),
    ("socket_sent", "sock_send_length"),
];

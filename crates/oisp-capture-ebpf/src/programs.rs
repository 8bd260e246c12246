//! Which kernel program goes to which function.

use oisp_elf::Function;

/// The kernel programs of one function of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probes {
    /// Attached where the function begins.
    pub(crate) entry: &'static str,
    /// Attached to its return or its return instructions, where that is needed.
    pub(crate) at_return: Option<&'static str>,
}

/// The one return program of all functions that transfer bytes.
const RETURN: &str = "ssl_return";

/// The one program at the return instructions of Go's functions.
const GO_RETURN: &str = "go_return";

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
        Function::GoRead => ("go_read", Some(GO_RETURN)),
        Function::GoWrite => ("go_write", Some(GO_RETURN)),
        Function::GoClose => ("go_close", None),
        Function::GoClientHandshake => ("go_client_handshake", None),
        Function::GoServerHandshake => ("go_server_handshake", None),
        Function::SslNew
        | Function::AeadSeal
        | Function::AeadSealScatter
        | Function::AeadOpen
        | Function::AeadOpenGather
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
    "go_read",
    "go_write",
    GO_RETURN,
    "go_close",
    "go_client_handshake",
    "go_server_handshake",
];

/// The programs of the process tracepoints, with the tracepoint of each.
pub(crate) const TRACEPOINTS: &[(&str, &str)] = &[
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
];

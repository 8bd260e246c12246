//! Which kernel program goes to which function.

use oisp_elf::{Function, FunctionSite};

/// The kernel programs of one function of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probes {
    /// Attached where the function's arguments are read, where they are needed.
    pub(crate) entry: Option<&'static str>,
    /// Attached where its result is read, where that is needed.
    pub(crate) at_return: Option<ReturnPrograms>,
    /// What the entry program has to be told about the arguments.
    pub(crate) arguments: u32,
}

/// The same program for the two ways to see a function's result; `None` where it was not written for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReturnPrograms {
    /// For a return probe: the return has happened.
    pub(crate) probe: Option<&'static str>,
    /// For a probe on each instruction by which the function is left: the return is about to happen.
    pub(crate) instruction: Option<&'static str>,
}

/// Of all functions that transfer bytes.
const TRANSFERRED: ReturnPrograms =
    ReturnPrograms { probe: Some("ssl_return"), instruction: Some("ssl_return_instruction") };

const MADE: ReturnPrograms =
    ReturnPrograms { probe: Some("ssl_new_return"), instruction: Some("ssl_new_return_instruction") };

/// Of the functions that open a record.
const OPENED: ReturnPrograms =
    ReturnPrograms { probe: Some("aead_opened"), instruction: Some("aead_opened_instruction") };
/// Of Go's functions, where a return probe would end the program.
const GO_TRANSFERRED: ReturnPrograms = ReturnPrograms { probe: None, instruction: Some("go_return") };

/// The programs for a function; `None` where there is none for it.
pub(crate) fn probes(site: &FunctionSite) -> Option<Probes> {
    let of = |entry, at_return| Probes { entry, at_return, arguments: site.arguments };
    let transfer = |entry| of(Some(entry), Some(TRANSFERRED));
    let open = |entry| of(Some(entry), Some(OPENED));
    let end = |entry| of(Some(entry), None);
    Some(match site.function {
        Function::SslRead => transfer("ssl_read"),
        Function::SslReadEx => transfer("ssl_read_ex"),
        Function::SslWrite => transfer("ssl_write"),
        Function::SslWriteEx => transfer("ssl_write_ex"),
        Function::SslWriteEx2 => transfer("ssl_write_ex2"),
        Function::SslReadInternal => transfer("ssl_read_internal"),
        // The program knows where the number of bytes is written without a cookie.
        Function::SslWriteInternal if site.arguments == FunctionSite::WRITE_WITHOUT_FLAGS => {
            Probes { arguments: 0, ..transfer("ssl_write_internal_without_flags") }
        }
        Function::SslWriteInternal => transfer("ssl_write_internal"),
        Function::SslFree => end("ssl_free"),
        Function::SslClear => end("ssl_clear"),
        Function::SslNew => of(None, Some(MADE)),
        // What is sealed is read before.
        Function::AeadSeal => end("aead_seal"),
        Function::AeadSealScatter => end("aead_seal_scatter"),
        Function::AeadOpen => open("aead_open"),
        Function::AeadOpenGather => open("aead_open_gather"),
        Function::RingSeal => end("ring_seal"),
        Function::RingOpen => open("ring_open"),
        Function::GoRead => Probes { at_return: Some(GO_TRANSFERRED), ..transfer("go_read") },
        Function::GoWrite => Probes { at_return: Some(GO_TRANSFERRED), ..transfer("go_write") },
        Function::GoClose => end("go_close"),
        Function::GoClientHandshake => end("go_client_handshake"),
        Function::GoServerHandshake => end("go_server_handshake"),
    })
}

/// All programs that are attached to functions.
pub(crate) const UPROBES: &[&str] = &[
    "ssl_read",
    "ssl_read_ex",
    "ssl_write",
    "ssl_write_ex",
    "ssl_write_ex2",
    "ssl_read_internal",
    "ssl_write_internal",
    "ssl_write_internal_without_flags",
    "ssl_return",
    "ssl_return_instruction",
    "ssl_free",
    "ssl_clear",
    "ssl_new_return",
    "ssl_new_return_instruction",
    "aead_seal",
    "aead_seal_scatter",
    "aead_open",
    "aead_open_gather",
    "aead_opened",
    "aead_opened_instruction",
    "ring_seal",
    "ring_open",
    "go_read",
    "go_write",
    "go_return",
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

/// The programs of the socket tracepoints. The end of sockets first: what is named later must be missed by none.
pub(crate) const SOCKET_TRACEPOINTS: &[(&str, &str)] = &[
    ("socket_state", "inet_sock_set_state"),
    ("socket_received", "sock_recv_length"),
    ("socket_sent", "sock_send_length"),
];

//! The table of all settings. To add one is to add an entry here; file, environment, flags and reference follow.

use std::path::PathBuf;
use std::time::Duration;

use crate::table::{Applies, Key, flag, settings};
use crate::value::{
    ByteSize, Case, Fraction, LogFilter, LogFormat, LogLevel, Patterns, Rate, RedactionMode, Services, within,
};

settings! {
    {
        /// File to append events to (made with mode 0600); `-` for standard output, which the command writes to as
        /// well, and whose closing ends the recording but not the command. A relative path starts at the folder that
        /// the sensor is run in.
        output: PathBuf = "events.jsonl".into(), (), Restart, flag flag("output", "FILE").or('o');

        /// Print nothing but warnings and errors.
        quiet: bool = false, (), Restart, flag flag("quiet", "").or('q');
    }

    /// Reading in the kernel. What is sized here is reserved when the sensor starts.
    capture: Capture {
        /// Size of the ring that the kernel hands records over in, rounded up to a power of two. Beyond it content is
        /// dropped, counted by records and bytes, and shows as gaps; the programs that are recorded never wait.
        ring_size: ByteSize = ByteSize::mib(16), within(ByteSize::kib(64), ByteSize::gib(1)), Restart,
            flag flag("ring-size", "SIZE").hidden();

        /// Connections that the kernel remembers. Beyond it the least recently used is forgotten; when it goes on it is
        /// seen as a new one that was joined late.
        connections: u32 = 32_768, within(1024, 1_048_576).of("connections"), Restart;

        /// Processes that are recorded at once. Beyond it new ones are not recorded, and counted; of the whole
        /// host (`record --host`) they are recorded all the same.
        processes: u32 = 16_384, within(1024, 4_194_304).of("processes"), Restart;

        /// Calls of TLS functions in progress at once, in all threads. Beyond it the connection of the call starts
        /// anew, as another one, and the call is counted.
        calls: u32 = 16_384, within(1024, 1_048_576).of("calls"), Restart;

        /// Also see what agents and their tool servers write to each other over pipes, as Python makes them for its
        /// children. Costs each system call of every program of the host some 0.15 µs while the sensor runs, recorded or not:
        /// a tenth to a quarter of a busy server's throughput. What goes over unix sockets is seen without.
        pipes: bool = false, (), Restart, flag flag("pipes", "");
    }

    /// The AI services that are known by their hosts.
    providers: Providers {
        /// More of them, each as `name=host`, `name=host:port` or `name=*.domain`: gateways, private deployments. Every
        /// request to such a host is a call, told by `provider_id` with this name, whatever known format it has; one in
        /// an unknown format is told without its content. The name of a service that is known already (`openai`,
        /// `anthropic`, …) makes the host another one of that service, with its prices.
        /// A change counts for connections that begin after it.
        services: Services = Services::none(), (), Live;
    }

    /// Which events are written beside requests, responses and what follows from them.
    events: Events {
        /// Tell streamed answers while they come, too.
        /// One `ai.streaming_chunk` for what was added within 100 ms, or within 32 KiB of the stream, beside the `ai.response`
        /// with the whole. Text is held back until it is certain that it is no part of a secret: some 90 bytes, more where
        /// something like a secret begins. Mode `minimal` tells lengths.
        /// A change counts for connections that begin after it.
        streaming_chunks: bool = false, (), Live, flag flag("streaming-chunks", "");
    }

    /// What leaves the sensor.
    redaction: Redaction {
        /// What is kept of content: `safe` replaces secrets, `minimal` keeps none, `full` keeps all but credentials in
        /// headers and URLs.
        mode: RedactionMode = RedactionMode::Safe, (), Live, flag flag("redaction", "MODE");
    }

    /// The queues between the stages. Each has this many places at most.
    queues: Queues {
        /// Capture events on their way from the kernel's ring to the decoders. Beyond it content is dropped and counted,
        /// and shows as gaps; the last eighth is kept for notices of processes and connections.
        capture_events: usize = 16_384, within(64, 1_048_576).of("capture events"), Restart;

        /// OISP events on their way to an output, for each output. Beyond it events are dropped and counted.
        events: usize = 10_000, within(16, 1_000_000).of("events"), Restart;
    }

    /// How much memory the sensor takes.
    memory: Memory {
        /// All buffers together, the kernel's ring and tables among them. Over it the connections that hold the most
        /// give it up, which is counted and said in their events (`memory_limit`), and what comes new is dropped and
        /// counted. 16 MiB of it are for the program itself and the message in work; one body may take a third of what
        /// the buffers have. It must leave 40 MiB beside the ring.
        limit: ByteSize = ByteSize::mib(64), within(ByteSize::mib(40), ByteSize::gib(64)), Live;
    }

    /// What is kept of one connection while it is decoded. Whatever exceeds a limit is cut and said to be cut. A change
    /// counts for connections that begin after it.
    decode: Decode {
        /// Bytes delivered of one body, after its content encoding is undone. The rest is counted.
        body_size: ByteSize = ByteSize::mib(16), within(ByteSize::kib(64), ByteSize::gib(1)), Live;

        /// Bytes kept besides of a body that may turn out to be longer than `body_size`, so that its hash can begin with
        /// its first byte. A longer one is hashed as it comes.
        hash_from_size: ByteSize = ByteSize::kib(256), within(ByteSize::new(0), ByteSize::mib(16)), Live;

        /// Bytes that are made of one compressed body, delivered or not. A body that becomes longer is neither counted nor
        /// hashed to its end.
        expanded_size: ByteSize = ByteSize::mib(64), within(ByteSize::kib(64), ByteSize::gib(4)), Live;

        /// Content codings of one body, one in the other. Beyond it the body is not decoded.
        codings: usize = 3, within(1, 8).of("codings"), Live;

        /// Members of one gzip body. Beyond it the rest is not decoded.
        gzip_members: u32 = 1024, within(1, 65_536).of("members"), Live;

        /// Bytes of one message head, or of one trailer section. Beyond it the message is refused.
        head_size: ByteSize = ByteSize::kib(256), within(ByteSize::kib(8), ByteSize::mib(16)), Live;

        /// Header fields of one message head, or of one trailer section. Beyond it the message is refused.
        headers: usize = 200, within(16, 10_000).of("header fields"), Live;

        /// Requests on one HTTP/1 connection that wait for their answer. Beyond it the connection is given up.
        pending_requests: usize = 256, within(1, 65_536).of("requests"), Live;

        /// Bytes held of a direction before its protocol is recognised, and the longest first line that is recognised
        /// as one.
        sniff_size: ByteSize = ByteSize::kib(16), within(ByteSize::kib(1), ByteSize::mib(1)), Live;

        /// Bytes held of a client that goes on before its upgrade was answered.
        held_size: ByteSize = ByteSize::kib(64), within(ByteSize::kib(1), ByteSize::mib(16)), Live;

        /// Bytes held of an answer that was captured before its request, as happens where one thread reads and another
        /// writes. Beyond it the answer is told without its request.
        early_response_size: ByteSize = ByteSize::kib(64), within(ByteSize::new(0), ByteSize::mib(16)), Live;

        /// Bytes of one line of chunk size and chunk extensions.
        chunk_line_size: ByteSize = ByteSize::kib(16), within(ByteSize::new(64), ByteSize::mib(1)), Live;

        /// Bytes kept of one message within a body: a server-sent event, a line of newline-delimited JSON, an element of a
        /// JSON array, the payload of an event stream message, a gRPC message.
        message_size: ByteSize = ByteSize::mib(16), within(ByteSize::kib(4), ByteSize::gib(1)), Live;

        /// Bytes of the id of a server-sent event. Longer ones are left out.
        event_id_size: ByteSize = ByteSize::kib(1), within(ByteSize::new(0), ByteSize::mib(1)), Live;

        /// Levels of brackets within one element of a JSON array.
        json_depth: u32 = 127, within(8, 128).of("levels"), Live;

        /// Bytes delivered of one WebSocket message. The rest is counted.
        websocket_message_size: ByteSize = ByteSize::mib(16), within(ByteSize::kib(4), ByteSize::gib(1)), Live;

        /// Bytes that one byte on the wire of a compressed WebSocket message may become, on average over messages. Beyond
        /// it the message is cut.
        websocket_ratio: u32 = 64, within(1, 1032).of("bytes a byte"), Live;

        /// Streams of one HTTP/2 connection that are open at once. Beyond it the oldest is given up.
        streams: usize = 1024, within(1, 65_536).of("streams"), Live;

        /// Bytes kept of one direction's header table (HPACK), by the measure of RFC 7541 section 4.1. Beyond it fields
        /// that refer to older entries are left out.
        header_table_size: ByteSize = ByteSize::kib(64), within(ByteSize::kib(4), ByteSize::mib(16)), Live;
    }

    /// What is kept of what was said.
    content: ContentLimits {
        /// The longest text of one message or tool result in an event. What is longer is cut, with a mark that says so.
        /// `none` keeps all that was decoded.
        max_text: Option<ByteSize> = None, within(ByteSize::new(16), ByteSize::gib(1)), Live;
    }

    /// Which AI calls are written: all that match a pattern in every list that is not empty. An empty list takes
    /// everything; what `exclude` names is left out even so. What is not known of a call matches no pattern.
    include: Include {
        /// Names of processes (`comm`, 15 bytes at most).
        process: Patterns = Patterns::none(Case::Sensitive), Case::Sensitive, Live;

        /// Paths of executables.
        executable: Patterns = Patterns::none(Case::Sensitive), Case::Sensitive, Live;

        /// Names or numeric ids of users.
        user: Patterns = Patterns::none(Case::Sensitive), Case::Sensitive, Live;

        /// Providers, as in events (`openai`, `anthropic`).
        provider: Patterns = Patterns::none(Case::Insensitive), Case::Insensitive, Live;

        /// Hosts that are called, without a port. Capitals do not matter.
        host: Patterns = Patterns::none(Case::Insensitive), Case::Insensitive, Live;

        /// Models, as requested or as answered. Capitals do not matter.
        model: Patterns = Patterns::none(Case::Insensitive), Case::Insensitive, Live;
    }

    /// Which AI calls are not written: those that match a pattern in any of these lists, whatever `include` says.
    exclude: Exclude {
        /// Names of processes (`comm`, 15 bytes at most).
        process: Patterns = Patterns::none(Case::Sensitive), Case::Sensitive, Live;

        /// Paths of executables.
        executable: Patterns = Patterns::none(Case::Sensitive), Case::Sensitive, Live;

        /// Names or numeric ids of users.
        user: Patterns = Patterns::none(Case::Sensitive), Case::Sensitive, Live;

        /// Providers, as in events (`openai`, `anthropic`).
        provider: Patterns = Patterns::none(Case::Insensitive), Case::Insensitive, Live;

        /// Hosts that are called, without a port. Capitals do not matter.
        host: Patterns = Patterns::none(Case::Insensitive), Case::Insensitive, Live;

        /// Models, as requested or as answered. Capitals do not matter.
        model: Patterns = Patterns::none(Case::Insensitive), Case::Insensitive, Live;
    }

    /// Writing a part of the AI calls only.
    sample: Sample {
        /// The share of exchanges (a request and its answer) that is written. The others are counted.
        exchanges: Fraction = Fraction::ONE, (), Live;
    }

    /// Writing no more AI calls than this. What is over the rate is left out and counted, a request with its answer.
    rate_limit: RateLimit {
        /// Exchanges of one connection.
        connection: Option<Rate> = None, within(1, 1_000_000), Live;

        /// Exchanges of one process.
        process: Option<Rate> = None, within(1, 1_000_000), Live;
    }

    /// What the sensor says of its own work, on standard error. The log holds no captured content.
    log: Log {
        /// From what severity on; for some targets another: `info,oisp_capture_ebpf=debug`.
        level: LogFilter = LogFilter::new(LogLevel::Info), (), Live, flag flag("log-level", "LEVEL").hidden();

        /// How the log is written: `text` is lines for people, `json` one object a line.
        format: LogFormat = LogFormat::Text, (), Restart, flag flag("log-format", "FORMAT");
    }

    /// The local socket that a running sensor is asked through.
    control: Control {
        /// Whether there is one.
        enabled: bool = true, (), Restart;

        /// The folder of the socket. `none` takes `/run/oisp-sensor` for root, and `oisp-sensor` in
        /// `$XDG_RUNTIME_DIR` for others.
        directory: Option<PathBuf> = None, (), Restart;
    }

    /// What is known of files that were looked at before: where their TLS functions are. Nothing of what programs say is in
    /// it. An entry is used only when the file still agrees with it.
    cache: Cache {
        /// Whether it is kept.
        enabled: bool = true, (), Restart;

        /// The folder it is kept in, which must belong to this user alone. `none` takes `$CACHE_DIRECTORY`, else
        /// `/var/cache/oisp-sensor` for root, and `oisp-sensor` in `$XDG_CACHE_HOME` (`~/.cache`) for others.
        directory: Option<PathBuf> = None, (), Restart;
    }

    /// How the sensor ends.
    shutdown: Shutdown {
        /// How long outputs may take to write what is queued. What is left then is dropped and counted.
        drain_timeout: Duration = Duration::from_secs(5), within(Duration::ZERO, Duration::from_secs(300)), Live;
    }
}

/// Every setting, in the order of the reference.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS_OF_GROUPS.iter().copied().flatten()
}

/// The setting with this name.
#[must_use]
pub fn key(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// The first setting of a table, if it is one.
pub(crate) fn first_of_table(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// What differs between two settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Keys that take effect at once.
    pub live: Vec<&'static Key>,
    /// Keys that take effect when the sensor is started again.
    pub restart: Vec<&'static Key>,
}

impl Settings {
    /// What differs in newer settings.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Changes {
        let differs =
            |applies| keys().filter(|key| key.applies == applies && !(key.equal)(self, new)).collect();
        Changes { live: differs(Applies::Live), restart: differs(Applies::Restart) }
    }

    /// These settings with what newer ones may change in a running sensor.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let mut settings = self.clone();
        for key in keys().filter(|key| key.applies == Applies::Live) {
            (key.copy)(new, &mut settings);
        }
        settings
    }
}

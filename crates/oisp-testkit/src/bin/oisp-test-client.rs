//! Runs one scenario and prints what crossed the TLS library as JSON.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use oisp_testkit::calls::Api;
use oisp_testkit::endpoint::Endpoint;
use oisp_testkit::openssl_client::{Call, OpenSsl};
use oisp_testkit::provider::{Config, FakeProvider};
use oisp_testkit::scenario::{Options, Scenario, run};

/// Makes AI calls through the host's OpenSSL and prints the ground truth: for each SSL object the number and
/// SHA-256 of the bytes that it wrote and read.
///
/// Example: oisp-test-client plain --bytes 71245 --stream
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    scenario: Which,
    /// The provider, as https://127.0.0.1:PORT; without it one runs in this process
    #[arg(long, global = true, requires = "ca")]
    base: Option<String>,
    /// The certificate that the provider's was signed with
    #[arg(long, global = true)]
    ca: Option<PathBuf>,
    /// A folder with a copy of libssl to use instead of the system's
    #[arg(long, global = true)]
    library_folder: Option<PathBuf>,
    /// Use SSL_read_ex and SSL_write_ex
    #[arg(long, global = true)]
    ex: bool,
    /// The format of the calls
    #[arg(long, global = true, default_value = "openai")]
    api: ApiName,
    /// Chooses the answer: fake-answer-100000, fake-chunks-50-delay-5ms, fake-gzip, ...
    #[arg(long, global = true, default_value = "fake")]
    model: String,
    /// Size of each request's body
    #[arg(long, global = true, default_value_t = 2000)]
    bytes: usize,
    /// Calls on each connection
    #[arg(long, global = true, default_value_t = 1)]
    calls: usize,
    /// Ask for streamed answers
    #[arg(long, global = true)]
    stream: bool,
    /// Print {"pid": ...} and wait for a line on standard input, before the library is opened or before the
    /// first connection
    #[arg(long, global = true, value_name = "POINT")]
    wait_before: Option<Point>,
    /// Write the bytes themselves into this folder
    #[arg(long, global = true)]
    dump: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ApiName {
    Openai,
    Anthropic,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Point {
    Load,
    Connect,
}

#[derive(Clone, Copy, Subcommand)]
enum Which {
    /// One connection, calls one after the other
    Plain,
    /// Client and server over memory BIOs on one thread
    MemoryBio,
    /// Two connections used in turn by one thread
    TwoConnections,
    /// Writes that are retried after WANT_WRITE on a non-blocking socket
    WantWrite {
        /// Let a write return after part of the data
        #[arg(long)]
        partial: bool,
    },
    /// SSL objects freed and made again at the same address
    ReuseSsl {
        #[arg(long, default_value_t = 5)]
        connections: usize,
    },
    /// A parent and its child with SSL objects at the same address
    Fork,
    /// Connections at once, a thread each
    Parallel {
        #[arg(long, default_value_t = 50)]
        connections: usize,
    },
    /// Calls on one connection for some time
    Loop {
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Waited between calls
        #[arg(long, default_value_t = 0)]
        pause_ms: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let (_provider, base, ca_file) = match (arguments.base, arguments.ca) {
        (Some(base), Some(ca_file)) => (None, base, ca_file),
        _ => {
            let provider = FakeProvider::start(Config::new(folder.path()))?;
            let (base, ca_file) = (provider.base_url(), provider.ca_file().to_owned());
            (Some(provider), base, ca_file)
        }
    };
    let endpoint = Endpoint::parse(&base)?;
    wait_at(Point::Load, arguments.wait_before)?;
    let library = OpenSsl::load(arguments.library_folder.as_deref())?;
    wait_at(Point::Connect, arguments.wait_before)?;

    let options = Options {
        library,
        endpoint,
        ca_file,
        folder: folder.path().to_owned(),
        call: if arguments.ex { Call::Ex } else { Call::Plain },
        api: match arguments.api {
            ApiName::Openai => Api::OpenAi,
            ApiName::Anthropic => Api::Anthropic,
        },
        model: arguments.model,
        bytes: arguments.bytes,
        calls: arguments.calls,
        stream: arguments.stream,
        keep: arguments.dump.is_some(),
    };
    let truth = run(arguments.scenario.scenario()?, &options)?;
    if let Some(folder) = arguments.dump {
        truth.dump(&folder).with_context(|| format!("can't write into {}", folder.display()))?;
    }
    println!("{}", truth.to_json());
    Ok(())
}

impl Which {
    fn scenario(self) -> anyhow::Result<Scenario> {
        Ok(match self {
            Self::Plain => Scenario::Plain,
            Self::MemoryBio => Scenario::MemoryBio,
            Self::TwoConnections => Scenario::TwoConnections,
            Self::WantWrite { partial } => Scenario::WantWrite { partial },
            Self::ReuseSsl { connections } => Scenario::Reuse { connections },
            Self::Fork => Scenario::Fork,
            Self::Parallel { connections } => Scenario::Parallel { connections },
            Self::Loop { seconds, pause_ms } => Scenario::Loop {
                duration: Duration::try_from_secs_f64(seconds).context("--seconds is out of range")?,
                pause: Duration::from_millis(pause_ms),
            },
        })
    }
}

/// Lets whoever started this process attach to it first.
fn wait_at(here: Point, wanted: Option<Point>) -> anyhow::Result<()> {
    if wanted == Some(here) {
        println!("{}", serde_json::json!({ "pid": std::process::id() }));
        std::io::stdin().lock().read_line(&mut String::new()).context("can't wait for standard input")?;
    }
    Ok(())
}

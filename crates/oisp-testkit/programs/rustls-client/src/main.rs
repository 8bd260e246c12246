//! Calls a provider: `rustls-client BASE_URL CA_FILE plain|stream CONNECTIONS CALLS [http2] [tls1.2] [reconnect]`.
//!
//! Each of `CONNECTIONS` makes `CALLS` calls: one after the other over HTTP/1.1, all at once over HTTP/2. With
//! `reconnect` every call has a connection of its own. For each call it prints one line, when the answer is complete:
//! what it asked, a tab, and the answer's bytes in hexadecimal.

use std::error::Error;
use std::fmt::Write as _;

use reqwest::{Client, ClientBuilder};
use tokio::task::JoinSet;


type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone)]
struct Task {
    url: String,
    client: Client,
    stream: bool,
    http2: bool,
    calls: usize,
    model: String,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, ca_file, mode, connections, calls, options @ ..] = &arguments[..] else {
        return Err(
            "usage: BASE_URL CA_FILE plain|stream CONNECTIONS CALLS [http2] [tls1.2] [reconnect]".into()
        );
    };
    let has = |option: &str| options.iter().any(|given| given == option);
    let (connections, calls): (usize, usize) = (connections.parse()?, calls.parse()?);
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        // A client of its own has connections of its own.
        let task = Task {
            url: format!("{base}/v1/chat/completions"),
            client: client(ca_file, has("http2"), has("tls1.2"), has("reconnect"))?,
            stream: mode == "stream",
            http2: has("http2"),
            calls,
            model: std::env::var("MODEL").unwrap_or_else(|_| "fake-answer-3000-chunks-40".to_owned()),
        };
        tasks.spawn(run(task, connection));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn client(ca_file: &str, http2: bool, tls12: bool, reconnect: bool) -> Result<Client, Failure> {
    let mut builder = tls(ca_file, http2, tls12)?.no_proxy();
    if !http2 {
        builder = builder.http1_only();
    }
    if reconnect {
        builder = builder.pool_max_idle_per_host(0);
    }
    Ok(builder.build()?)
}

#[cfg(feature = "rustls")]
fn tls(ca_file: &str, http2: bool, tls12: bool) -> Result<ClientBuilder, Failure> {
    #[cfg(feature = "aws-lc")]
    use rustls::crypto::aws_lc_rs as crypto;
    #[cfg(not(feature = "aws-lc"))]
    use rustls::crypto::ring as crypto;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let versions = if tls12 { &[&rustls::version::TLS12][..] } else { &[&rustls::version::TLS13][..] };
    let provider = std::sync::Arc::new(crypto::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Client::builder().use_preconfigured_tls(config))
}

#[cfg(not(feature = "rustls"))]
fn tls(ca_file: &str, _http2: bool, tls12: bool) -> Result<ClientBuilder, Failure> {
    use reqwest::{Certificate, tls::Version};

    let roots = Certificate::from_pem_bundle(&std::fs::read(ca_file)?)?;
    let builder = roots.into_iter().fold(Client::builder(), ClientBuilder::add_root_certificate);
    Ok(if tls12 { builder.max_tls_version(Version::TLS_1_2) } else { builder })
}

async fn run(task: Task, connection: usize) -> Result<(), Failure> {
    if !task.http2 {
        for number in 0..task.calls {
            call(task.clone(), connection, number).await?;
        }
        return Ok(());
    }
    // The first alone, so that the others find the connection and share it.
    call(task.clone(), connection, 0).await?;
    let mut calls = JoinSet::new();
    for number in 1..task.calls {
        calls.spawn(call(task.clone(), connection, number));
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(())
}

async fn call(task: Task, connection: usize, number: usize) -> Result<(), Failure> {
    // Of different lengths, and some longer than a TLS record.
    let filler =
        "word ".repeat(20 + (connection * 7 + number * 13) % 50 + if number % 3 == 2 { 8000 } else { 0 });
    let question = format!("question {number} of connection {connection}: {filler}");
    let stream = if task.stream { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
    let body = format!(
        r#"{{"model":"{}","messages":[{{"role":"user","content":"{question}"}}]{stream}}}"#,
        task.model
    );
    let request = task.client.post(&task.url).header("content-type", "application/json");
    let mut response = request.header("authorization", "Bearer test-key").body(body).send().await?;
    let mut received = String::new();
    while let Some(chunk) = response.chunk().await? {
        for byte in &chunk {
            write!(received, "{byte:02x}")?;
        }
    }
    println!("{question}\t{received}");
    Ok(())
}

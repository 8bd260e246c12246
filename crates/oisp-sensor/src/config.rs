//! `oisp-sensor config`, and what the other commands take from the settings.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use oisp_ai::{ServiceHost, Services};
use oisp_config::{Configuration, Decode, Flags, Providers, Settings};
use oisp_decode::Limits;

use crate::arguments::ConfigOptions;
use crate::exit::{FAILED, Failure, MISUSED};
use crate::logging::{InvalidLevels, Levels};
use crate::without_secrets;

pub(crate) fn run(options: &ConfigOptions) -> Result<ExitCode, Failure> {
    if let Some(path) = &options.check {
        return match oisp_config::check(path) {
            Ok(_) => print(&format!("{}: nothing is wrong\n", path.display())),
            Err(problems) => {
                eprintln!("{}", without_secrets(&problems.to_string()));
                Ok(ExitCode::from(FAILED))
            }
        };
    }
    if options.effective {
        return print(&oisp_config::effective(&load(&options.flags)?));
    }
    if options.flags != Flags::default() {
        return Err(Failure::new(MISUSED, "flags that set something go with --effective"));
    }
    print(&oisp_config::default_file())
}

/// The configuration of this run, with the environment of this process.
pub(crate) fn load(flags: &Flags) -> Result<Configuration, Failure> {
    oisp_config::load(flags, std::env::vars_os().collect())
        .map_err(|problems| Failure::new(MISUSED, format!("the configuration is wrong\n{problems}")))
}

/// The log's own form of its levels.
pub(crate) fn levels(settings: &Settings) -> Result<Levels, InvalidLevels> {
    settings.log.level.to_string().parse()
}

/// The redactor's own name for the mode.
pub(crate) fn redaction_mode(settings: &Settings) -> oisp_redact::RedactionMode {
    match settings.redaction.mode {
        oisp_config::RedactionMode::Safe => oisp_redact::RedactionMode::Safe,
        oisp_config::RedactionMode::Minimal => oisp_redact::RedactionMode::Minimal,
        oisp_config::RedactionMode::Full => oisp_redact::RedactionMode::Full,
    }
}

/// The kernel side takes a number of 32 bits, which the range of the key keeps it below.
pub(crate) fn ring_bytes(settings: &Settings) -> u32 {
    u32::try_from(settings.capture.ring_size.bytes()).unwrap_or(u32::MAX)
}

/// The folder that analyses of files are kept in; `None` where they are not.
pub(crate) fn analyses(settings: &Settings) -> Option<PathBuf> {
    let cache = &settings.cache;
    let folder = || cache.directory.clone().or_else(oisp_elf::AnalysisCache::default_folder);
    cache.enabled.then(folder)?
}

/// The services besides the known ones.
pub(crate) fn services(providers: &Providers) -> Services {
    let hosts: Vec<_> = providers
        .services
        .iter()
        .map(|service| ServiceHost {
            provider_id: service.name.clone(),
            host: service.host.clone(),
            subdomains: service.subdomains,
            port: service.port,
        })
        .collect();
    Services::new(&hosts)
}

/// The decoders' own limits.
pub(crate) fn limits(decode: &Decode) -> Limits {
    Limits {
        body_bytes: decode.body_size.bytes(),
        hash_from_bytes: decode.hash_from_size.as_usize(),
        expanded_bytes: decode.expanded_size.bytes(),
        codings: decode.codings,
        gzip_members: decode.gzip_members,
        event_id_bytes: decode.event_id_size.as_usize(),
        websocket_ratio: decode.websocket_ratio.into(),
        head_bytes: decode.head_size.as_usize(),
        headers: decode.headers,
        pending_requests: decode.pending_requests,
        sniff_bytes: decode.sniff_size.as_usize(),
        early_response_bytes: decode.early_response_size.as_usize(),
        held_bytes: decode.held_size.as_usize(),
        chunk_line_bytes: decode.chunk_line_size.as_usize(),
        message_bytes: decode.message_size.as_usize(),
        json_depth: decode.json_depth,
        websocket_message_bytes: decode.websocket_message_size.as_usize(),
        streams: decode.streams,
        header_table_bytes: decode.header_table_size.as_usize(),
    }
}

/// A reader that has enough, as `head` has, is no failure.
fn print(text: &str) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(FAILED, format!("standard output: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_stages() {
        let settings = Settings::default();
        assert_eq!(limits(&settings.decode), Limits::default());
        assert_eq!(ring_bytes(&settings), oisp_capture_ebpf::Options::default().ring_bytes);
    }

    #[test]
    fn redaction_modes_have_the_redactors_names() {
        let mut settings = Settings::default();
        for mode in oisp_config::RedactionMode::ALL {
            settings.redaction.mode = *mode;
            assert_eq!(mode.as_str().parse(), Ok(redaction_mode(&settings)));
        }
    }
}

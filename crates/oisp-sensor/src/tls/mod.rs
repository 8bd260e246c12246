//! `oisp-sensor tls`

mod render;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oisp_config::Flags;
use oisp_elf::{Analysis, AnalysisCache, CacheLimits, ElfError, Image};

use crate::arguments::TlsOptions;
use crate::config;
use crate::exit::{FAILED, Failure};

pub(crate) fn run(options: &TlsOptions) -> Result<ExitCode, Failure> {
    let analyses = Analyses::open()?;
    match (&options.file, options.pid) {
        (Some(file), _) => {
            let analysis = analyses
                .of(file)
                .map_err(|error| Failure::new(FAILED, format!("{}: {error}", file.display())))?;
            print(options, file, &analysis)?;
            if analysis.stacks.is_empty() {
                return Err(Failure::new(
                    FAILED,
                    format!("{}: no TLS functions found that could be probed", file.display()),
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(pid)) => of_process(options, &analyses, pid),
        (None, None) => Err(Failure::new(FAILED, "give a file or --pid")),
    }
}

fn of_process(options: &TlsOptions, analyses: &Analyses, pid: u32) -> Result<ExitCode, Failure> {
    let candidates = oisp_capture_ebpf::candidates_of_process(pid)
        .map_err(|error| Failure::new(FAILED, format!("process {pid} cannot be examined: {error}")))?;
    let mut found = false;
    let mut unreadable: Vec<(PathBuf, ElfError)> = Vec::new();
    for candidate in candidates {
        match analyses.of(&candidate.path) {
            Ok(analysis) if analysis.stacks.is_empty() && analysis.refusals.is_empty() => {}
            Ok(analysis) => {
                print(options, &candidate.path, &analysis)?;
                found |= !analysis.stacks.is_empty();
            }
            Err(ElfError::NotElf | ElfError::Unsupported(_)) => {}
            Err(error) => unreadable.push((candidate.path, error)),
        }
    }
    for (path, error) in unreadable {
        eprintln!("oisp-sensor: {}: {error}", path.display());
    }
    if found {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::new(
            FAILED,
            format!("process {pid} has nothing mapped in which TLS functions were found"),
        ))
    }
}

fn print(options: &TlsOptions, path: &Path, analysis: &Analysis) -> Result<(), Failure> {
    let text = if options.json {
        render::json(path, analysis).to_string() + "\n"
    } else if options.explain {
        render::explanation(path, analysis)
    } else {
        render::list(path, analysis)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure::new(FAILED, format!("cannot print: {error}"))),
    }
}

/// Analyses of files, those among them that a recording has kept.
struct Analyses(Option<AnalysisCache>);

impl Analyses {
    fn open() -> Result<Self, Failure> {
        let settings = config::load(&Flags::default())?.settings;
        let Some(folder) = config::analyses(&settings) else { return Ok(Self(None)) };
        let cache = AnalysisCache::open(&folder, CacheLimits::default());
        Ok(Self(cache.inspect_err(|error| eprintln!("oisp-sensor: note: cache of analyses: {error}")).ok()))
    }

    fn of(&self, path: &Path) -> Result<Analysis, ElfError> {
        let file = File::open(path)?;
        let Some(cache) = &self.0 else { return oisp_elf::analyze_file(&Image::map(&file)?) };
        let looked = cache.analyze(&file)?;
        for trouble in looked.trouble {
            eprintln!("oisp-sensor: note: cache of analyses: {trouble}");
        }
        Ok(looked.analysis)
    }
}

//! `oisp-sensor tls`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oisp_elf::{Analysis, ElfError};

use crate::arguments::TlsOptions;
use crate::exit::{FAILED, Failure};

pub(crate) fn run(options: &TlsOptions) -> Result<ExitCode, Failure> {
    match (&options.file, options.pid) {
        (Some(file), _) => {
            let analysis = oisp_elf::analyze(file)
                .map_err(|error| Failure::new(FAILED, format!("{}: {error}", file.display())))?;
            print(file, &analysis);
            if analysis.stacks.is_empty() {
                return Err(Failure::new(
                    FAILED,
                    format!("{}: no TLS functions found that could be probed", file.display()),
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(pid)) => of_process(pid),
        (None, None) => Err(Failure::new(FAILED, "give a file or --pid")),
    }
}

fn of_process(pid: u32) -> Result<ExitCode, Failure> {
    let candidates = oisp_capture_ebpf::candidates_of_process(pid)
        .map_err(|error| Failure::new(FAILED, format!("process {pid} cannot be examined: {error}")))?;
    let mut found = false;
    let mut unreadable: Vec<(PathBuf, ElfError)> = Vec::new();
    for candidate in candidates {
        match oisp_elf::analyze(&candidate.path) {
            Ok(analysis) if analysis.stacks.is_empty() => {}
            Ok(analysis) => {
                print(&candidate.path, &analysis);
                found = true;
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

fn print(path: &Path, analysis: &Analysis) {
    println!("{}", path.display());
    if let Some(build_id) = &analysis.build_id {
        println!("  build id {build_id}");
    }
    for stack in &analysis.stacks {
        println!("  {}", stack.library.name());
        for site in &stack.functions {
            println!(
                "    {:<14} file offset {:#x}, address {:#x} ({})",
                site.function.name(),
                site.file_offset,
                site.address,
                site.evidence.name()
            );
        }
    }
}

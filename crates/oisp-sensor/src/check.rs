//! `oisp-sensor check`

use std::process::ExitCode;

use oisp_capture_ebpf::requirements;
use oisp_config::Flags;

use crate::exit::{FAILED, Failure};
use crate::{config, plan};

pub(crate) fn run() -> Result<ExitCode, Failure> {
    let all = requirements::all();
    for requirement in &all {
        println!("{} {requirement}", if requirement.met { "ok     " } else { "MISSING" });
    }
    println!("{}", tracefs());
    let libraries = oisp_capture_ebpf::tls_libraries_of_host();
    if libraries.is_empty() {
        println!(
            "note    no OpenSSL in the linker cache; programs that bring their own are found when they start"
        );
    }
    for path in &libraries {
        let found = match oisp_elf::analyze(path) {
            Ok(analysis) if analysis.stacks.is_empty() => "no known TLS functions".to_owned(),
            Ok(analysis) => {
                analysis.stacks.iter().map(|stack| stack.library.name()).collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.to_string(),
        };
        println!("library {}: {found}", path.display());
    }
    println!("{}", cost());
    if let Some(unmet) = all.iter().find(|requirement| !requirement.met) {
        return Err(Failure::new(FAILED, format!("this host cannot be recorded yet: {}", unmet.name)));
    }
    println!("This host can be recorded: oisp-sensor record -- COMMAND");
    Ok(ExitCode::SUCCESS)
}

/// What a recording would hold of memory, with the configuration as it is.
fn cost() -> String {
    let settings = match config::load(&Flags::default()) {
        Ok(configuration) => configuration.settings,
        Err(failure) => return format!("MISSING a configuration that can be used: {failure}"),
    };
    let limit = settings.memory.limit;
    let kernel = plan::kernel(&settings).memory();
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    format!(
        "cost    {:.1} MiB for the kernel's ring (capture.ring_size), {:.1} MiB for its tables (capture.connections, \
         capture.processes, capture.calls), {:.1} MiB for buffers, of {limit} in all (memory.limit)",
        mebibytes(kernel.ring),
        mebibytes(kernel.tables),
        mebibytes(plan::buffers(&settings, Some(kernel))),
    )
}

/// Said because people look for it: many eBPF tools fail without.
fn tracefs() -> &'static str {
    let mounted = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]
        .iter()
        .any(|path| std::path::Path::new(path).exists());
    if mounted {
        "ok      tracefs: mounted (not needed)"
    } else {
        "ok      tracefs: not mounted (not needed)"
    }
}

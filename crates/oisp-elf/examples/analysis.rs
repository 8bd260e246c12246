//! Prints what the analysis of each file finds, how long it took and how much memory of its own it had at most.

use std::time::Instant;

fn main() {
    for path in std::env::args().skip(1) {
        let size = std::fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
        let begin = Instant::now();
        let result = oisp_elf::analyze(std::path::Path::new(&path));
        let seconds = begin.elapsed().as_secs_f64();
        println!("{path}: {size} bytes, {seconds:.3} s");
        match result {
            Ok(analysis) => {
                for stack in &analysis.stacks {
                    println!("  {}", stack.library.name());
                    for site in &stack.functions {
                        println!(
                            "    {:#x} {} ({})",
                            site.address,
                            site.function.name(),
                            site.evidence.name()
                        );
                    }
                }
                for refusal in &analysis.refusals {
                    println!("  {} refused: {}", refusal.library.name(), refusal.reason);
                }
            }
            Err(error) => println!("  {error}"),
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("VmHWM")) {
        println!("{line}");
    }
}

//! Where a function is probed: the cheapest place that is safe.

mod aarch64;
mod verify;
mod x86_64;

pub use verify::SiteError;

//! The `oisp-sensor` command.
fn main() {}

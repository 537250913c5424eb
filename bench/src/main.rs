//! Causeway benchmarks.
fn main() {}

//! Arguments, logging, runtime and exit codes.

fn main() {}

//! What commands print.

use std::io::{self, Write};

use crate::cli::{Failure, daemon::failed};

/// A line that nobody has to read.
pub(in crate::cli) fn print(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}

/// A document whose reader must get all of it: there may be no second one.
pub(super) fn document(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|error| failed(format!("cannot write to standard output: {error}")))
}

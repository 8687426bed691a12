//! What a power switch measures.

use serde::Serialize;

/// One item of `read`. Clients check strictly that both members are there and are numbers; they
/// work out the power themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reading {
    /// Volts.
    pub voltage: f64,
    /// Amperes.
    pub current: f64,
}

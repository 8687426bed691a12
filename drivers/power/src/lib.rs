//! Power switches.

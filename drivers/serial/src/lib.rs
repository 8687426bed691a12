//! Serial consoles.

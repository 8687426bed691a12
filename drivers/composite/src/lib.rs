//! Drivers that group other drivers.

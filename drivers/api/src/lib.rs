//! The contract between rigd and its drivers.

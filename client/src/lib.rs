//! A Rust client for rigd and Jumpstarter exporters.

//! Administration of a small lab.

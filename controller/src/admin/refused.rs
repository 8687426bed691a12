//! Refusals that several here have.

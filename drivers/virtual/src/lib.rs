//! A simulated board with its instruments.

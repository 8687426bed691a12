//! The Jumpstarter protocol and rigd's own control protocol.

//! Storage muxes, flashers and file stores.

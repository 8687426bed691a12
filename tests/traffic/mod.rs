//! What the robustness tests share: a rig with one instrument of each kind, looks at the daemon's
//! process, a recording proxy, a raw HTTP/2 client and mutations of recorded bytes.
//!
//! The `.bin` files are what the released Python client sent, made by `record.py`.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

pub(crate) mod board;
pub(crate) mod mutate;
pub(crate) mod ordinary;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw_http2;
pub(crate) mod rig;
pub(crate) mod run;

//! `rigd controller …` and `rigd get`: the real binary, without a daemon and with one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod admin;
mod embedded;
mod support;

use embedded::Site;

/// A lab with two boards and a client.
fn lab() -> Site {
    let host = Site::new();
    let create = |args: &[&str]| host.ok(&[&["controller", "create"], args].concat());
    create(&["client", "ci", "--out", "ci.yaml"]);
    create(&[
        "exporter",
        "rig-1",
        "-l",
        "board=rpi4",
        "--out",
        "rig-1.yaml",
    ]);
    let labels = ["--label", "board=qemu", "--label", "rack=7"];
    create(&[&["exporter", "rig-2", "--out", "rig-2.yaml"], &labels[..]].concat());
    host
}

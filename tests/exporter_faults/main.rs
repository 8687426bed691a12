//! The weak spots of the Python exporter, numbered, each with what shows that rigd does better.
//! Tests without a file are in this directory; `PY` is `tests/python/`, run by `interop_wire`,
//! `interop_drivers` and `interop_resources`.
//!
//! | # | there | here |
//! |---|---|---|
//! | 1 | the gate before LEASE_READY refuses nothing | `row_01…`; held, then served: `lease_direct::calls_are_held…` |
//! | 2 | always exit code 0 | 3 in `row_07…`, 0 everywhere; 1 and 2: `robust_startup` |
//! | 3 | registration is tried once | `row_03…` |
//! | 4 | another lease name without an end in between is ignored | `row_04…` |
//! | 5 | an old state is repeated before a newer one is told | `row_05…` |
//! | 6 | a failed hook is not heard when another state follows | `row_06…` |
//! | 7 | a client misses the failure, and the exporter hangs | `row_07…`; without a controller: `lease_direct::a_hook_that_fails…` |
//! | 8 | states after TERM are lost | `row_08…` |
//! | 9 | a timeout kills the shell only | `row_09…` |
//! | 10 | afterLease overlaps beforeLease | `row_10…`; at a stop: `lease_direct::a_stop_interrupts…` |
//! | 11 | the end of a lease waits for beforeLease | `row_11…` |
//! | 12 | a hook blocks what the controller says | `row_12…` |
//! | 13 | HUP does nothing when idle | `row_13…`: here it reloads |
//! | 14 | a second TERM is ignored | `row_14…`; without a controller: `lease_direct::a_stop_interrupts…` |
//! | 15 | readers of the log steal lines; it tells of the controller | `rows_15_and_16…`, `row_15…`; `PY/test_wire::test_two_readers…` |
//! | 16 | lines of two exporters of one process mix | `rows_15_and_16…` |
//! | 17 | resources leak; a broken upload ends well | `robust_many::a_client_that_vanishes…`, `PY/test_wire_tables::test_an_upload_without_its_end…` |
//! | 18 | "as it is" cannot be said of an encoding | `PY/test_wire::test_resource_without_compression` |
//! | 19 | a driver's items block all else | `robust_many::a_stalled_reader…` |
//! | 20 | an abandoned call keeps the hardware; no lock | `rigd-driver`'s `tests/instance.rs`, `PY/test_storage::test_a_write_to_two_instances…` |
//! | 21 | a cancelled driver gives no answer | exceptions of Python; a driver that panics: `rigd-driver`'s `tests/instance.rs` |
//! | 22 | redirects: relative places, credentials | `PY/test_presigned::test_get_follows_a_relative_location`, `…test_get_drops_credentials…` |
//! | 23 | stream errors hide their cause | `PY/test_wire_tables::test_a_device_that_cannot_be_opened`, `PY/test_wire::test_cancel_is_a_normal_end` |
//! | 24 | control frames in tunnels | `link::tunnel`'s `frames_without_meaning…`, `PY/test_wire::test_control_frames_are_no_data` |
//! | 25 | a mistake in the file makes a driver vanish | `config_corpus::every_bad_file_is_refused…` |
//! | 26 | references in a circle; an alias is closed twice | `config_corpus` (`references.yaml`), `PY/test_wire::test_an_alias_repeats_the_uuids` |
//! | 27 | no release without hooks | `rows_27_and_28…`, `link_lease` |
//! | 28 | AVAILABLE before the release | `rows_27_and_28…` |
//! | 29 | fixed sleeps | `row_29…` |
//! | 30 | a slow driver fails the lease | drivers open once, before the exporter registers: `rigd-driver`'s `an_opening_that_hangs…` |
//! | 31 | some seconds without controller end a lease | `row_31…` |
//! | 32 | telemetry without a namespace | `rows_32_and_33…` |
//! | 33 | telemetry is not flushed | `rows_32_and_33…` |
//! | 34 | a report that hangs leaves no time to sign off | `row_34…` |
//! | 35 | the way for old controllers, to be removed there one day | `row_35…`: kept |
//! | 36 | without a controller EndSession ends all, a passphrase locks hooks out | `row_36…`, `PY/test_wire_tables::test_end_session_in_direct_mode` |
//! | 37 | a passphrase that is not ASCII is a crash | `row_37…`; in the file: `transport::passphrase` |
//! | 38 | long error texts are RESOURCE_EXHAUSTED | `PY/test_wire_tables::test_an_error_text_of_any_length…` |
//! | 39 | a connection for every call; `insecure` asks twice | `row_39…`; `link::dialer`'s `insecure_takes_any_chain…` |
//! | 40 | two sockets and sleeps around a fork | nothing forks; a hook's own socket: `row_36…`, `lease_direct::a_hook_drives…` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod controller;
mod direct;
mod hooks;
#[path = "../lab/mod.rs"]
mod lab;
mod logs;
mod rig;
#[path = "../support/mod.rs"]
mod support;
#[path = "../traffic/mod.rs"]
mod traffic;

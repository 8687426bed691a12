//! Power switches on the network behind the released client.

mod support;

use support::{case::Rig, daemon::Listen};

const SWITCHES: Rig = Rig::Exporter("network-power", Listen::Unix);

cases!(
    all_cases_are_listed: SWITCHES,
    "test_network_power.py",
    [
        http_on_and_off,
        http_cycle,
        http_read,
        http_read_of_something_else,
        http_without_read,
        http_refused,
        http_says_so_in_the_log,
        energenie_on_and_off,
        energenie_reads_nothing,
        energenie_unreachable,
        own_calls,
    ]
);

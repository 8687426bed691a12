//! What goes wrong around the embedded controller. Each is told in clear words, with the code that
//! is due, and the state is as it was.
//!
//! | case | test |
//! |---|---|
//! | state file cut short, overwritten, emptied, of something else, a database of somebody else | `state::a_file_that_is_no_good_is_told_and_left_as_it_is` |
//! | state directory not writable, state file of somebody else | `state::a_state_that_may_not_be_used_is_told` |
//! | state in use by another process | `state::a_second_process_is_told_who_has_the_state` |
//! | disk full at the first start | `disk::a_first_start_on_a_full_disk_leaves_nothing_half` |
//! | disk full while it runs | `disk::a_disk_that_fills_up_costs_no_acknowledged_change` |
//! | clock set back or forth while it was off | `state::a_clock_that_was_set_lengthens_no_lease`; while it runs: in the crate, `schedule::tests::ends` and `leases::tests::changes` |
//! | port in use, address of another host | `start::a_port_that_cannot_be_had` |
//! | advertised name that does not resolve | `embedded_life`: `an_advertised_name_is_handed_out_and_certified` |
//! | settings that are none | `start::settings_that_are_none` |
//! | a file of another namespace, a name or a label that is none | `start::a_file_that_does_not_go_with_the_lab` |
//! | certificate and key that do not fit, or are none | `start::certificates_that_are_none` |
//! | certificates of the site | `start::certificates_of_the_site_are_served_and_handed_out` |
//! | no, several, malformed, forged, expired, revoked and foreign tokens | `tokens::tokens_that_are_no_good` |
//! | names, kinds and namespaces that are not the token's | `callers::whoever_claims_to_be_somebody_else` |
//! | client of another namespace | `callers::a_client_of_another_namespace` |
//! | failed logins in a row | `tokens::failed_logins_delay_no_good_token` |
//! | tokens in logs | `tokens::tokens_are_in_no_log` |
//! | label or tag against the rules, selector that does not parse, times that are none | `wishes::what_is_against_the_rules` |
//! | page tokens and resource names made up | `wishes::page_tokens_and_names_made_up` |
//! | 10,000 leases requested by one client | `flood::one_client_asks_for_ten_thousand_leases` |
//! | leases taken and given back in a loop | `flood::leases_that_come_and_go_do_not_fill_the_disk` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod embedded;
mod support;

#[path = "embedded_wrong/callers.rs"]
mod callers;
#[path = "embedded_wrong/disk.rs"]
mod disk;
#[path = "embedded_wrong/flood.rs"]
mod flood;
#[path = "embedded_wrong/start.rs"]
mod start;
#[path = "embedded_wrong/state.rs"]
mod state;
#[path = "embedded_wrong/tokens.rs"]
mod tokens;
#[path = "embedded_wrong/wishes.rs"]
mod wishes;

use embedded::{Site, commands::said};

/// A lab with a board on another host and a client, and nobody who serves it.
struct Lab {
    site: Site,
    inventory: Vec<String>,
}

impl Lab {
    fn new() -> Self {
        let site = Site::new();
        site.create_client("ci");
        let out = site.home("rig.yaml");
        let create = [
            "controller",
            "create",
            "exporter",
            "rig",
            "-l",
            "board=rpi4",
            "--out",
        ];
        site.ok(&[&create[..], &[out.to_str().unwrap()]].concat());
        let inventory = site.inventory();
        assert_eq!(inventory.len(), 2, "{inventory:?}");
        Self { site, inventory }
    }

    /// `rigd controller run` with these flags ends with this code and these words.
    #[track_caller]
    fn does_not_start(&self, code: i32, flags: &[&str], words: &[&str]) {
        let run = self.site.controller_command(flags);
        said(run, "").refused(code, words);
    }

    /// Nothing is lost, with a controller and without one.
    #[track_caller]
    fn is_intact(&self) {
        assert_eq!(self.site.inventory(), self.inventory);
        let mut daemon = self.site.controller(&[]);
        let mut now = self.site.inventory();
        // The lab's own client comes with the first start.
        now.retain(|line| !line.starts_with("clients \"default\""));
        assert_eq!(now, self.inventory);
        daemon.stop_cleanly();
    }
}

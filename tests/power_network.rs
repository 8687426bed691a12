//! Power switches on the network behind the released client.
//!
//! What upstream's tests of these drivers do with a client and a recorder, and where it is done here:
//!
//! | case | test |
//! |---|---|
//! | http-power: on and off with method, body and basic authentication | `http_on_and_off` |
//! | http-power: cycle | `http_cycle` |
//! | http-power: read by configured paths and by the usual keys | `http_read`, `web::http_reads_only_what_is_there` of the crate |
//! | http-power: read of something else, without an endpoint, refused | `http_read_of_something_else`, `http_without_read`, `http_refused` |
//! | http-power: its line in the log | `http_says_so_in_the_log` |
//! | energenie: login and switching, both ways | `energenie_on_and_off` |
//! | energenie: no read; a host that is not there | `energenie_reads_nothing`, `energenie_unreachable` |
//! | snmp: on, off, an error, silence | `snmp` of the crate |
//! | tasmota: on and off by a broker | `mqtt` of the crate |
//!
//! What goes wrong with a power switch, and the test of it, in `drivers/power/tests` unless said
//! otherwise. After each of them the other instruments go on: they share nothing but the device.
//!
//! | what | test |
//! |---|---|
//! | the device is not there, and comes back | `web::a_device_that_is_gone_late_or_talks_nonsense_is_told_and_comes_back`, `snmp::a_device_that_is_gone_or_silent_is_told_in_time` |
//! | its name does not resolve | `snmp::a_host_that_does_not_resolve_is_absent` |
//! | it answers late, but in time | `switching::an_answer_that_is_late_but_in_time_is_one` |
//! | it answers too late, or not at all | `web::a_device_that_is_gone_late_or_talks_nonsense_is_told_and_comes_back`, `snmp::a_device_that_is_gone_or_silent_is_told_in_time`, `mqtt::a_device_that_does_not_confirm_is_an_error_unless_told_otherwise`, `command::the_whole_group_is_killed_at_the_limit` |
//! | its answer has no end, a byte at a time | `switching::an_answer_without_an_end_is_no_answer` |
//! | an answer is lost | `snmp::a_lost_answer_is_asked_for_again_with_the_same_id`, `web::a_get_is_repeated_and_a_post_is_not` |
//! | an answer to something else comes, or one from before | `snmp::what_is_no_answer_is_passed_over`, `mqtt::what_was_said_before_confirms_nothing` |
//! | it answers with nonsense | `web::a_device_that_is_gone_late_or_talks_nonsense_is_told_and_comes_back`, `mqtt::a_broker_that_refuses_or_is_none_makes_the_instance_absent_with_the_reason`, `snmp::usm::tests::nothing_that_comes_makes_it_panic` |
//! | it refuses: status, password, access, unknown relay | `web::http_tells_a_status_in_upstreams_words_and_no_secret`, `plugs::shelly_with_a_wrong_password_or_generation`, `plugs::tasmota_refuses_with_a_warning`, `snmp::an_error_of_the_device_is_told_with_what_helps` |
//! | it does something else than it was told | `plugs::shelly_of_the_first_generation`, `command::the_state_is_asked_for_where_there_is_a_way` |
//! | the MQTT broker goes and comes back | `mqtt::a_broker_that_goes_and_comes_back_costs_the_calls_of_that_time_and_nothing_else`; Debian's mosquitto: `mqtt::a_real_broker_goes_and_comes_back`, with TLS `mqtt_tls` |
//! | a real SNMP agent, right and wrong credentials | `snmp::a_real_agent_in_all_versions` |
//! | several want the device at once | `switching::outlets_of_one_device_take_turns`, `switching::drivers_of_two_kinds_share_the_device_at_one_address` |
//! | an off comes while something else waits, repeats or gets no answer | `switching::an_off_ends_all_that_came_before_it_and_waits`, `…_waits_for_no_on_that_gets_no_answer`, `…_goes_before_a_question_that_gets_no_answer`, `…_ends_the_repetitions_of_an_on` |
//! | a loop wears the relay out, also over a loss of the device | `switching::the_budget_refuses_on_and_never_off`, `switching::a_device_that_is_opened_again_has_used_up_what_it_has` |
//! | the lease ends in the middle | `switching::nothing_is_sent_after_the_key_was_revoked` |
//! | a secret cannot be read | `switching::a_secret_that_cannot_be_read_makes_the_instance_faulty_and_nothing_else` |
//! | a line, chip or permission of GPIO | the crate `rigd-drivers-gpio`, and `guest` |

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

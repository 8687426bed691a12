//! The embedded controller with the released programs: `jmp`, `j`, pytest and the Python exporter.
//!
//! What upstream's end-to-end tests do with a controller, and where it is done here. Theirs of
//! hooks and of direct connections: `interop_hooks`, `interop_direct`.
//!
//! | case | test |
//! |---|---|
//! | the line that `rigd run` prints, as it stands | `first_command::the_printed_line_works_as_it_stands` |
//! | pytest with `JumpstarterTest` in a shell | `first_command::pytest_in_a_shell` |
//! | the Python interface without a shell | `first_command::the_python_interface_without_a_shell` |
//! | create clients and exporters by the admin command; what `jmp config` lists | `identities::create_clients_and_exporters` |
//! | admin rotate client, twice, `--save`, one that does not exist | `identities::rotate_client` |
//! | `auth rotate`, `auth status`; a rotated token lists exporters | `identities::auth_rotate_and_status` |
//! | admin get and delete | `identities::get_and_delete` |
//! | client config from environment variables alone | `identities::client_config_from_the_environment_alone` |
//! | a client config with the CA, and no insecure variable | `identities::secure_tls_with_the_authority_of_the_file` |
//! | auth logging: bad tokens of a client and of an exporter | `identities::failed_authentication_is_logged_without_the_token` |
//! | can run exporters: three become online and available | `exporters::three_become_online_and_available` |
//! | the Python exporter beside rigd's own | `exporters::the_python_exporter_beside_ones_own` |
//! | compat: the client before the exporter | `exporters::the_client_before_the_exporter` |
//! | compat: clients and exporters of 0.7.4, which tell no status | `older::clients_and_exporters_of_an_older_release` |
//! | compat: online after a lease | `exporters::the_python_exporter_beside_ones_own`, `leases::lease_and_connect_by_selector_by_name_and_by_both` |
//! | lists of exporters, and leases from their creation to their end | `leases::what_a_client_does_with_leases` |
//! | operate on leases: a day long, selectors, `delete --all` | `leases::operate_on_leases` |
//! | EXPIRES AT and REMAINING | `leases::operate_on_leases` |
//! | paginated leases and exporters | `leases::paginated_leases_and_exporters` |
//! | transfer a lease | `leases::transfer_a_lease` |
//! | lease and connect by selector, by name, by both | `leases::lease_and_connect_by_selector_by_name_and_by_both` |
//! | an exporter by name that does not exist | `leases::an_exporter_that_does_not_exist` |
//!
//! Upstream's unit and integration tests of a controller have theirs in the crate `controller`:
//!
//! | case | test |
//! |---|---|
//! | a Listen that supersedes: tokens that wait are delivered to the older one, no new ones | `api::controller::tests::listen::an_older_one_delivers_what_it_has_and_ends_well` |
//! | a full queue is RESOURCE_EXHAUSTED, and blocks nobody | `api::controller::tests::listen::eight_wait_and_the_ninth_is_told_so` |
//! | the code of Dial for each status | `api::controller::tests::dial::each_status_has_its_answer` |
//! | ReleaseLease can be repeated, and is refused to others | `api::controller::tests::leases::release_by_its_client_or_its_exporter_can_be_repeated` |
//! | policies: client, exporter, duration, priority, spot | `schedule::tests::outcomes::policies_admit_by_client_exporter_and_duration`, `…::spot_access_alone_is_refused_and_beside_other_access_unused` |
//! | the router never repeats a token | `router::tests::pairing::without_a_good_token_nobody_gets_in_and_no_token_is_repeated` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod embedded;
mod support;

#[path = "interop_lab/commands.rs"]
mod commands;
#[path = "interop_lab/exporters.rs"]
mod exporters;
#[path = "interop_lab/first_command.rs"]
mod first_command;
#[path = "interop_lab/identities.rs"]
mod identities;
#[path = "interop_lab/lab.rs"]
mod lab;
#[path = "interop_lab/leases.rs"]
mod leases;
#[path = "interop_lab/older.rs"]
mod older;
#[path = "interop_lab/python_exporter.rs"]
mod python_exporter;
#[allow(dead_code, reason = "shared with another test binary")]
#[path = "traffic/run.rs"]
mod running;

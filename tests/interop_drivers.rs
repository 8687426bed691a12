//! Each driver behind its released client.
//!
//! What upstream's tests of these drivers do with a client, and where it is done here. Storage has its
//! own cases below; power switches on the network are in `power_network`, the command line in
//! `interop_cli`.
//!
//! | case | test |
//! |---|---|
//! | power: on, off, read, of the driver with async methods and of the one without | `instruments::power_on_off_read` |
//! | power: cycle | `instruments::power_cycle` |
//! | power: the driver's lines in the client's log | `instruments::power_log_stream` |
//! | power: what a driver does not have | `instruments::power_without_rescue`, `instruments::power_unknown_stream` |
//! | serial: bare, a stream that is opened and used as it is | `serial::loop_echo`, `serial::pty` |
//! | serial: `open_stream`, `open` and their `close` | `serial::open_stream`, `serial::open_and_close` |
//! | serial: forget_close, a client that leaves without | `serial::forgotten_close` |
//! | serial: pexpect, by the client and by its adapter | `serial::pexpect`, `serial::pty_pexpect` |
//! | serial: cps, its time, on a loop and on a device | `serial::cps`, `serial::cps_of_a_device` |
//! | serial: cps of zero is none | `serial::cps_of_zero_is_no_limit` |
//! | serial: close without a stream, and with one, which then ends | `serial::close_without_a_stream`, `serial::close_ends_the_stream` |
//! | serial: DTR and RTS of a device that has none | `serial::lines_of_a_device_without_them` |
//! | serial: HUPCL | `ports` of the crate `rigd-drivers-serial` |
//! | serial: pipe and start-console of the command line | `interop_cli::console_pipe`, `…_reads_on_after_the_end_of_input`, `…_to_a_file`, `…_without_output`, `interop_cli::start_console` |
//! | nvdemux: one program for several, its map, restart, mismatches, locks, end | `nvdemux` of that crate; dying with the daemon: `serial_peers` |
//! | network: port forwarding over TCP, twice at once | `instruments::tcp`, `instruments::tcp_twice_at_once` |
//! | network: port forwarding over a unix socket | `instruments::unix` |
//! | network: UDP | `instruments::udp` |
//! | network: websocket | `instruments::websocket`, `instruments::websocket_text` |
//! | network: echo | `instruments::echo`, `instruments::echo_streams_do_not_mix` |
//! | network: address, of TCP, UDP and websocket, withheld, of kinds without one | `instruments::tcp_address`, `instruments::websocket_address`, `instruments::address_withheld`, `instruments::address_of_a_kind_that_has_none` |
//! | network: pexpect on a TCP peer | `instruments::tcp_pexpect` |
//! | network: a peer that is not there | `instruments::a_peer_that_is_not_there` |
//! | noyito: frames of each channel, of all of them, cycle | `relay::relay_on_and_off`, `relay::relay_all_channels_one_after_the_other`, `relay::relay_cycle` |
//! | noyito: status, also of the command line, and no read | `relay::relay_status`, `relay::relay_status_of_the_command_line`, `relay::relay_reads_nothing` |
//! | noyito: garbage, silence, wrong channels; HID | `noyito_serial` and `relay_boards` of the crate `rigd-drivers-relays`, `guest_relays` |
//! | composite: nesting; proxy | `instruments::composite_children`, `instruments::proxy_is_its_target` |
//!
//! What goes wrong with a console, a relay board or a line, and the test of it; of power switches on the
//! network in `power_network`, of cards in `guest_faults`. After each of them the other instruments go on.
//!
//! | what | test |
//! |---|---|
//! | the device is missing, and comes | `ports::an_absent_port_is_waited_for` and `log` (serial), `relay_boards::a_board_that_is_not_there_is_absent_and_found_when_it_comes`, `find::a_host_without_chips` (gpio) |
//! | no permission: the rule and the group | `open_tty::a_lack_of_permission_names_path_group_and_cure`, `usb_handles::a_file_without_permission_names_the_rule`, `find::a_missing_permission_names_the_rule_and_the_group` |
//! | somebody else has it | `ports::a_port_belongs_to_one_instance`, `relay_boards::a_board_that_another_program_holds_is_faulty`, `noyito_serial::a_port_that_another_program_has_is_waited_for_and_named`, `relay::a_line_that_is_taken_names_its_holder` and `guest` |
//! | unplugged in a call or a session | `guest_console`, `guest_relays`, `guest`, `guest_dutlink`; `unplug` (serial), `relay_boards::a_board_that_is_unplugged_in_a_call_is_unavailable_and_comes_back` |
//! | wedged: a call that never returns | `usb_handles::a_request_that_never_returns_costs_its_device_alone`, `relay_boards::a_board_whose_request_never_returns_costs_its_instance_alone`, `relay::a_chip_that_hangs_costs_its_own_calls_only` |
//! | wrong chip or line name | `find::what_is_not_there_is_told_with_what_is`, `guest` |
//! | several fit | `find::two_that_fit_are_listed_with_the_key_that_tells_them_apart`, the crate `rigd-device` |
//! | garbage on the line | `streams::bytes_pass_untouched_both_ways`, `noyito_serial::answers_are_read_as_the_boards_write_them` |
//! | reads of 0 bytes | `empty_reads` (serial) |
//! | a baud rate or format that the adapter refuses | `settings::what_a_device_refuses_is_an_error_and_changes_nothing`, `guest_console`, `rfc2217::a_refused_speed_leaves_everything_as_it_was` |

mod support;

use support::{case::Rig, daemon::Listen};

const INSTRUMENTS: Rig = Rig::Exporter("instruments", Listen::Unix);

mod instruments {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_instruments.py",
        [
            power_on_off_read,
            power_cycle,
            power_log_stream,
            power_without_rescue,
            power_unknown_stream,
            composite_children,
            proxy_is_its_target,
            echo,
            echo_streams_do_not_mix,
            tcp,
            tcp_twice_at_once,
            tcp_pexpect,
            tcp_address,
            address_withheld,
            address_of_a_kind_that_has_none,
            websocket_address,
            udp,
            unix,
            websocket,
            websocket_text,
            a_peer_that_is_not_there,
        ]
    );
}

mod relay {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Exporter("relay", Listen::Unix),
        "test_relay.py",
        [
            relay_on_and_off,
            relay_all_channels_one_after_the_other,
            relay_cycle,
            relay_status,
            relay_status_of_the_command_line,
            relay_reads_nothing,
        ]
    );
}

mod serial {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_serial.py",
        [
            loop_echo,
            open_stream,
            open_and_close,
            forgotten_close,
            pexpect,
            cps,
            cps_of_a_device,
            cps_of_zero_is_no_limit,
            close_without_a_stream,
            pty,
            pty_one_stream_after_the_other,
            pty_pexpect,
            close_ends_the_stream,
            lines_of_a_device_without_them,
        ]
    );
}

mod storage {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_storage.py",
        [
            files_bytes,
            files_paths,
            files_seek_and_tell,
            files_properties,
            files_content_is_there_after_close,
            files_stat,
            files_hash,
            files_copy_and_rename,
            files_list_and_scan,
            files_remove,
            files_capability,
            files_presign,
            files_created_resources,
            files_unknown_descriptor,
            files_stay_below_their_root,
            flasher,
            flasher_partitions,
            flasher_partition_names_are_no_paths,
            mux,
            mux_flasher,
            a_write_to_two_instances_at_once,
        ]
    );
}

//! Each driver behind its released client.

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

//! The wire contract of an exporter, with bare gRPC: the check list, tables, and who may call.

mod support;

use support::{case::Rig, daemon::Listen};

const INSTRUMENTS: Rig = Rig::Exporter("instruments", Listen::Unix);

mod check_list {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_wire.py",
        [
            report_over_a_unix_socket_with_its_path_as_authority,
            report_when_the_authority_is_sent_as_it_is,
            stream_headers_come_before_any_frame,
            half_close_by_goaway,
            half_close_by_end_of_stream,
            half_close_by_both,
            half_close_leaves_the_other_direction_open,
            half_close_by_the_device_leaves_the_other_direction_open,
            cancel_is_a_normal_end,
            control_frames_are_no_data,
            resource_handle_and_headers,
            resource_without_compression,
            reports_are_in_order_and_name_existing_clients,
            report_carries_texts_and_labels,
            an_alias_repeats_the_uuids,
            frames_stay_below_the_clients_limit,
            a_frame_of_three_mebibytes_is_taken,
            a_message_over_four_mebibytes_is_refused,
            a_frame_over_four_mebibytes_ends_only_its_stream,
            a_late_reader_gets_the_last_256_lines,
            log_lines_name_their_source,
            two_readers_both_get_every_line,
            status_versions_in_direct_mode,
        ]
    );
}

mod tables {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_wire_tables.py",
        [
            a_result_of_nothing_is_null,
            streamed_items_are_structs,
            kinds_of_results,
            numbers_arrive_as_doubles,
            an_unset_argument_is_null,
            numbers_that_are_none_are_refused,
            an_unknown_method,
            a_method_called_the_wrong_way,
            an_unknown_instance,
            an_instance_in_another_spelling,
            a_wrong_number_of_arguments,
            an_argument_of_a_wrong_type,
            an_error_text_of_any_length_reaches_the_client,
            reset_is_not_implemented,
            an_unknown_rpc,
            end_session_in_direct_mode,
            malformed_stream_requests,
            a_device_that_cannot_be_opened,
            a_resource_is_good_for_one_use,
            a_resource_belongs_to_its_instance,
            an_unknown_encoding_fails_no_later_than_its_use,
            an_upload_without_its_end_is_an_error,
            a_download_ends_without_waiting_for_the_client,
            twenty_streams_at_once,
        ]
    );
}

mod passphrase {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Exporter("power", Listen::Passphrase),
        "test_passphrase.py",
        [
            right,
            missing,
            wrong,
            every_rpc_asks_for_it,
            the_last_of_several_counts,
            an_unknown_rpc_is_unknown_first,
            the_released_client,
            the_released_client_without,
        ]
    );
}

mod tls {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Exporter("power", Listen::Tls),
        "test_tls.py",
        [
            the_released_client,
            the_command_line,
            a_plain_client_is_refused,
            a_client_that_does_not_trust_the_certificate,
        ]
    );
}

//! Images on their way: compressed, broken, fetched from the web, and with clients that die.

mod support;

use support::{
    case::{self, Rig},
    daemon::{Daemon, Listen},
};

const INSTRUMENTS: Rig = Rig::Exporter("instruments", Listen::Unix);

mod codecs {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_codecs.py",
        [
            gzip,
            xz,
            bz2,
            zstd,
            gzip_of_several_members,
            xz_of_several_streams,
            bz2_of_several_streams,
            zstd_of_several_frames,
            gzip_cut_short,
            xz_cut_short,
            bz2_cut_short,
            zstd_cut_short,
            gzip_corrupt,
            xz_corrupt,
            bz2_corrupt,
            zstd_corrupt,
            bytes_of_another_kind,
            dump_gzip,
            dump_xz,
            dump_bz2,
            dump_zstd,
        ] + ["the_next_write_works_after_a_client_was_killed"]
    );
}

mod card {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Example,
        "test_card.py",
        [
            truncated_gzip,
            truncated_xz,
            truncated_bz2,
            truncated_zstd,
            corrupt_gzip,
            corrupt_zstd,
            a_download_that_breaks_off,
            a_download_that_is_not_found_leaves_the_card_as_it_was,
        ] + ["a_client_killed_in_mid_upload"]
    );
}

mod presigned {
    use super::*;

    cases!(
        all_cases_are_listed: INSTRUMENTS,
        "test_presigned.py",
        [
            get,
            get_keeps_the_percent_encoding,
            get_sends_the_headers,
            get_follows_301,
            get_follows_302,
            get_follows_303,
            get_follows_307,
            get_follows_308,
            get_drops_credentials_for_another_origin,
            get_follows_a_relative_location,
            get_follows_ten_redirects_but_not_eleven,
            get_of_a_redirect_without_a_place,
            get_not_found,
            get_that_nobody_answers,
            get_that_breaks_off,
            put,
            put_refused,
            a_handle_that_is_none,
            opendal_writes_from_a_web_page,
        ]
    );
}

mod disk {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Exporter("disk", Listen::Unix),
        "test_disk.py",
        [
            write_tells_what_it_wrote,
            flash,
            flash_unpacks,
            dump,
            dump_packs,
            dut_is_refused_after_a_broken_flash,
            a_killed_client_leaves_the_card_incomplete,
            flash_of_an_operator,
            flash_of_an_operator_in_memory,
            write_file_of_an_operator_that_signs,
            dump_to_an_operator,
            the_second_of_two_that_flash_at_once_is_refused,
            progress_and_the_end_are_in_the_log,
        ]
    );
}

mod disk_web {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Exporter("disk", Listen::Unix),
        "test_disk_web.py",
        [
            a_map_beside_a_url_is_found,
            a_map_of_another_image_breaks_the_write,
            a_url_whose_image_is_too_large_leaves_the_card,
            a_redirect_is_followed,
            a_body_that_breaks_off,
            a_download_that_broke_goes_on,
            a_packed_download_that_broke_goes_on,
            a_download_goes_on_behind_a_redirect,
            a_download_never_goes_on_with_another_file,
            a_download_never_goes_on_with_another_range,
            a_download_whose_rest_is_forbidden_ends_with_the_break,
            a_download_that_brings_nothing_more_ends,
            put_of_the_card,
            put_refused,
            put_is_not_redirected,
        ]
    );
}

/// The client cannot be told any more, so that the log has to say it, as an error and with the place.
fn log_tells_of_the_broken_upload(daemon: &Daemon, instance: &str) {
    let place = [
        format!("instance=\"{instance}\""),
        "operation=\"write\"".to_owned(),
    ];
    daemon.expect_line("word of the broken upload", |line| {
        line.contains(" ERROR ")
            && place.iter().all(|part| line.contains(part))
            // Which of the two the daemon sees first is up to the network.
            && (line.contains("The caller went away before the call was done.")
                || line.contains("upload broken: the client went away before the end of its data"))
    });
}

#[test]
fn a_client_killed_in_mid_upload_is_logged() {
    let case = "test_card.py::test_a_client_killed_in_mid_upload";
    let Some(daemon) = case::run(Rig::Example, case) else {
        return;
    };
    log_tells_of_the_broken_upload(&daemon, "dutlink.storage");
    // The device's own thread writes this card, and says how its work ended in either case.
    daemon.expect_line("word of the work that ended", |line| {
        line.contains(" ERROR ")
            && (line.contains("Work that nobody waits for failed. error=")
                || line.contains("Transfer failed. error="))
    });
}

#[test]
fn the_next_write_works_after_a_client_was_killed() {
    let case = "test_codecs.py::test_the_next_write_works_after_a_client_was_killed";
    if let Some(daemon) = case::run(INSTRUMENTS, case) {
        log_tells_of_the_broken_upload(&daemon, "mux_flasher");
    }
}

//! Images on their way: compressed, broken, fetched from the web, and with clients that die.

mod support;

use support::{
    case::{self, Rig},
    daemon::Listen,
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
            a_download_that_breaks_off,
            a_download_that_is_not_found_leaves_no_bootable_card,
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

/// The client cannot be told any more, so that the log has to say it.
fn log_tells_of_the_broken_upload(rig: Rig, case: &str) {
    if let Some(daemon) = case::run(rig, case) {
        daemon.expect_line("word of the broken upload", |line| {
            (line.contains("WARN") || line.contains("ERROR")) && line.contains("write")
        });
    }
}

#[test]
fn a_client_killed_in_mid_upload_is_logged() {
    log_tells_of_the_broken_upload(
        Rig::Example,
        "test_card.py::test_a_client_killed_in_mid_upload",
    );
}

#[test]
fn the_next_write_works_after_a_client_was_killed() {
    let case = "test_codecs.py::test_the_next_write_works_after_a_client_was_killed";
    log_tells_of_the_broken_upload(INSTRUMENTS, case);
}

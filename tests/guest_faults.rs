//! Cards and readers that fail while the daemon in a QEMU guest writes to them or reads them, for clients
//! on the host: what is told, what the card is known as, what is never written to, and that nothing else
//! suffers.
//!
//! What goes wrong with an image, a card or a mux, and the tests of it. Those without a file are here and
//! below `guest_faults/`; `disk`, `disk_in_use` and `file_mux` are in `drivers/storage/tests`, `engine`,
//! `layout` and `read` in the crate `rigd-flash`, `mux` in `rigd-drivers-sdmux`, `codec` is `rigd-codec`, and
//! `….py` is in `tests/python`.
//!
//! | what | test |
//! |---|---|
//! | a stream that is cut short or corrupt, in each codec | `disk::a_compressed_image_is_unpacked_and_a_broken_one_marks_the_card`, `codec::truncated_data_and_trailing_garbage_are_errors`, `codec::a_broken_upload_stays_the_cause`, `broken::a_broken_image_is_an_error_and_the_card_incomplete` (`flash_command`); `test_codecs.py` and `test_card.py`: `test_…_cut_short`, `test_…_corrupt`, `test_truncated_…`, `test_corrupt_…`; `test_disk.py`: `test_dut_is_refused_after_a_broken_flash` |
//! | a bomb that unpacks to more than the card | `disk::a_bomb_ends_where_the_card_does`, `layout::a_sparse_bomb_is_refused_by_its_header`, `an_image_that_is_too_large` |
//! | a decoder that needs more memory than allowed | `disk::a_decoder_gets_no_more_memory_than_allowed_and_the_need_is_told` |
//! | a block map with a wrong checksum | `disk::only_what_a_map_names_is_written_and_a_wrong_checksum_is_refused`; `test_disk_web.py`: `test_a_map_of_another_image_breaks_the_write` |
//! | a download that breaks off | `test_disk_web.py`: `test_a_body_that_breaks_off`, `test_a_download_…` |
//! | an image that is too large | `an_image_that_is_too_large`, `disk::an_image_of_known_size_that_is_too_large_leaves_the_card_as_it_was`, `layout::sizes_that_do_not_fit_are_told_as_early_as_they_are_known` |
//! | a bad place, written or read | `a_bad_place_is_named`, `a_dump_that_breaks_off_is_an_error`, `the_released_client_ends_with_the_first_cause`, `disk_broken::a_disk_that_fails_in_mid_write_is_told_with_its_place`, `disk_broken::a_card_that_fails_to_read_breaks_the_dump_with_its_place`, `read::a_bad_place_is_named_and_what_is_before_it_was_sent`, `engine::faults::a_bad_place_is_named_and_what_was_written_before_counts` |
//! | a card that does not keep what is written | `disk_broken::a_card_that_does_not_keep_what_was_written_fails_the_write`, `engine::a_byte_that_reads_back_wrong_fails_the_write` |
//! | an error of sync | `an_error_of_sync_is_final`, `engine::faults::an_error_of_sync_is_final` |
//! | the device is gone | `guest_sdmux::a_reader_that_is_pulled_in_a_write_leaves_the_card_incomplete`, `a_card_that_is_taken_out_ends_the_write`, `a_dump_that_breaks_off_is_an_error`, `engine::faults::a_card_that_is_gone_is_unavailable`, `read::a_card_that_is_gone_is_unavailable` |
//! | another card in its place | `the_rest_never_goes_to_a_card_that_was_put_in_since`, `engine::faults::the_rest_of_an_image_never_goes_to_a_card_that_was_put_in_since`, `read::a_card_that_was_put_in_since_is_not_sent_as_the_rest`, `guest_sdmux::changed::a_block_that_changed_is_written_again` |
//! | another name after a replug | `a_reader_with_another_name_is_found`, `mux::a_disk_that_takes_another_name_meanwhile_is_not_written` |
//! | a card that is read-only | `disk_in_use::a_read_only_device_is_write_protected` |
//! | an adapter that protects its card | `a_write_protected_card_is_refused` |
//! | a disk that udisks, a mount or another program holds | `disk_in_use::a_disk_that_udisks_or_anybody_mounted_is_refused_with_the_place`, `disk_in_use::a_disk_that_a_container_mounted_is_refused`, `disk_in_use::the_file_of_a_loop_device_is_in_use`, `disk_in_use::swap_space_is_refused`, `disk_in_use::a_disk_that_a_program_has_for_itself_is_refused`, `guest_sdmux::a_card_in_use_stays_at_the_host`, `mux::a_card_that_somebody_uses_stays_where_it_is` |
//! | a switch while the kernel reads the card | `a_switch_waits_for_the_kernel` |
//! | two clients, or two instances, with one card | `a_slow_card_holds_up_nothing_else`, `mux::nothing_switches_under_a_write`, `disk_in_use::two_instances_and_two_clients_exclude_each_other`, `file_mux::two_instances_over_one_file_do_not_mix_images`; `test_disk.py`: `test_the_second_of_two_that_flash_at_once_is_refused` |
//! | a client that is killed | `disk_broken::a_client_that_goes_away_in_mid_write_leaves_the_card_incomplete`, `broken::a_command_that_ends_early_leaves_an_incomplete_card` (`flash_command`), `robust_many::a_client_that_vanishes_in_mid_upload_leaves_nothing_open`; `test_disk.py`: `test_a_killed_client_leaves_the_card_incomplete`; `test_card.py`: `test_a_client_killed_in_mid_upload` |
//! | a lease that ends in the middle of a write | `disk_broken::a_lease_that_ends_in_mid_write_leaves_the_card_incomplete`, `file_mux::a_lease_that_ends_in_a_write_leaves_the_card_marked`, `broken::a_lease_that_begins_ends_the_write` (`flash_command`), `link_fenced` |
//! | a daemon that stops or is killed in the middle of a write | `a_daemon_that_is_killed_knows_afterwards`, `disk_broken::a_daemon_that_stops_in_mid_write_knows_afterwards`, `disk_broken::a_killed_daemon_knows_after_its_restart`, `broken::a_daemon_that_stops_ends_the_write_and_says_so` (`flash_command`), `robust_stop::in_mid_upload_the_client_learns_why_and_the_card_is_incomplete` |
//! | a request to the mux that hangs | `a_mux_that_does_not_answer`, `guest_sdmux::hangs::a_usbsdmux_that_does_not_answer`, `usb_handles::a_request_that_never_returns_costs_its_device_alone` (`rigd-usb`) |
//! | a card that is slow or hangs | `a_slow_card_holds_up_nothing_else`, `a_card_that_hung_is_used_again`, `engine::faults::a_card_that_hangs_ends_the_write_and_is_left_until_it_answers`, `read::a_card_that_hangs_ends_the_read_and_is_left_until_it_answers` |
//! | a board that runs without its card, or loses it | `guest_sdmux::rules::the_card_stays_with_a_board_that_runs`, `interlocks`, `flash_command::interlocks_bind_it` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

#[path = "guest/bench.rs"]
mod bench;
#[path = "guest/cards.rs"]
mod cards;
#[path = "guest_faults/hangs.rs"]
mod hangs;
#[path = "guest_faults/reads.rs"]
mod reads;
#[path = "guest_faults/released.rs"]
mod released;
#[path = "guest/rig.rs"]
mod rig;
mod support;

use std::{fs, path::Path, process::Command};

use bench::{Bench, FAULT, IMAGE};
use cards::{Image, MIB, incomplete, positions, refused, storage};
use rig::{Guest, Hardware, STEP_LIMIT};
use rigd_client::{Code, Compression};
use serde_json::json;
use support::repository;
use tokio::{io::AsyncWriteExt as _, time::timeout};

const USB: &[&str] = &[
    "sdwire=sdwire,size=72M,serial=SDW1",
    "small=disk,size=8M,bus=5",
    "spare=disk,size=8M,bus=6,plugged=no",
    "supply=hid-relay,serial=HW341,bus=6",
];
/// One boot for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn faults() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(264 << 20).unwrap();
    let Some(mut guest) = Guest::boot(&Hardware {
        usb: USB,
        disks: &[disk.to_str().unwrap()],
        gpio: &["relays=power"],
        udev: true,
        ..Hardware::default()
    }) else {
        return;
    };
    // As udev has it on a host that systemd starts: the kernel looks for changed cards by itself.
    guest.run("echo 2000 >/sys/module/block/parameters/events_dfl_poll_msecs");
    let file = repository().join("tests/guest/exporters/faults.yaml");
    let exporter = guest.serve(&file).await;
    let mut bench = Bench {
        card: storage(&exporter, "sdwire").await,
        image: Image::new(dir.path(), 1, IMAGE),
        guest,
        exporter,
        dir,
    };

    bench.large_images_come_to_the_cards_and_back(&disk);
    bench.the_released_client_ends_with_the_first_cause().await;
    bench.a_bad_place_is_named().await;
    bench.an_error_of_sync_is_final().await;
    bench.a_dump_that_breaks_off_is_an_error().await;
    bench.a_card_that_is_taken_out_ends_the_write().await;
    bench
        .the_rest_never_goes_to_a_card_that_was_put_in_since()
        .await;
    bench.a_slow_card_holds_up_nothing_else().await;
    bench.an_image_that_is_too_large().await;
    bench.a_switch_waits_for_the_kernel().await;
    bench.a_card_that_hung_is_used_again().await;
    bench.a_mux_that_does_not_answer().await;
    bench.a_write_protected_card_is_refused().await;
    bench.a_reader_with_another_name_is_found().await;
    bench.a_daemon_that_is_killed_knows_afterwards(&file).await;
    bench.guest.stop();
}

impl Bench {
    async fn a_bad_place_is_named(&self) {
        self.set(json!({"error_at": FAULT}));
        let text = refused(self.image.write(&self.card).await, Code::Internal);
        assert!(
            text.starts_with("write stopped at 4 MiB") && text.contains("cannot write /dev/sd"),
            "{text}"
        );
        assert!(
            text.contains("at byte 4194304: Input/output error"),
            "{text}"
        );
        self.the_card_stays_with(&text).await;
        self.set(json!({"error_at": null}));
        self.the_next_write_works().await;
    }

    /// By then the kernel has dropped what it could not write: a second sync would say that all is well.
    async fn an_error_of_sync_is_final(&mut self) {
        let reader = self.guest.usb("sdwire.reader");
        let failed = || reader.values("sync", "failed");
        let cache = |what: &str| {
            let file = "$(device TSDWIRE.READER)/*:*/host*/target*/*/scsi_disk/*/cache_type";
            format!("echo temporary {what} >{file}")
        };
        self.guest.run(&cache("write back"));
        let before = failed().len();
        self.set(json!({"sync_errors": 1}));
        let text = refused(self.image.write(&self.card).await, Code::Internal);
        assert!(
            text.starts_with("write stopped at 12 MiB of 12 MiB: cannot sync /dev/sd"),
            "{text}"
        );
        self.the_card_stays_with(&text).await;
        // One that was tried again has succeeded by now.
        assert_eq!(failed()[before..], [json!(true)]);
        // What of it the card has, nobody knows: all of it is written again.
        let device = self.exporter.device("sdwire").await.unwrap();
        let report = self.image.write_with(&device, json!({})).await.unwrap();
        assert_eq!(report["unchanged"], json!(0));
        assert_eq!(failed()[before..], [json!(true), json!(false)]);
        self.guest.run(&cache("write through"));
        self.the_next_write_works().await;
    }

    async fn a_card_that_is_taken_out_ends_the_write(&self) {
        self.set(json!({"eject_at": FAULT}));
        let text = refused(self.image.write(&self.card).await, Code::Unavailable);
        assert!(text.starts_with("write stopped at 4 MiB"), "{text}");
        assert!(
            text.ends_with("is gone: the card was taken out or changed"),
            "{text}"
        );
        self.the_card_stays_with(&text).await;
        // Still none.
        let missing = refused(self.image.write(&self.card).await, Code::DeadlineExceeded);
        assert!(
            missing.contains("within 10 s: no card in /dev/sd"),
            "{missing}"
        );
        self.the_card_stays_with(&text).await;
        self.set(json!({"present": true}));
        self.the_next_write_works().await;
    }

    /// Changed while the client pauses, and the kernel has told udev of it.
    async fn the_rest_never_goes_to_a_card_that_was_put_in_since(&mut self) {
        let image = self.another(10);
        let (mut feed, source) = tokio::io::duplex(MIB);
        let device = self.exporter.device("sdwire").await.unwrap();
        let options = json!({"verify": "none", "delta": "none"});
        let writing = tokio::spawn(async move {
            let handle = |handle| vec![handle, options];
            device
                .upload("write", handle, source, Compression::None)
                .await
        });
        // The last buffer is kept back: it may still be filled.
        feed.write_all(&image.bytes[..9 * MIB]).await.unwrap();
        image.until_written(&self.medium(), 7).await;
        let sequence = "cat /sys/block/$(basename $(node TSDWIRE.READER \"$disk\"))/diskseq";
        let before = self.guest.run(sequence);
        self.set(json!({"present": false}));
        self.guest
            .until(&format!("[[ $({sequence}) != {before} ]]"));
        let other = vec![0xee; 72 * MIB];
        fs::write(self.medium(), &other).unwrap();
        self.set(json!({"present": true}));
        // Told of the new one as well, and of nothing else in between.
        self.guest.until("exec 9<$(node TSDWIRE.READER \"$disk\")");
        self.guest.run("exec 9<&-");
        feed.write_all(&image.bytes[9 * MIB..]).await.ok();
        drop(feed);
        let text = refused(writing.await.unwrap(), Code::Unavailable);
        assert!(
            text.ends_with("is gone: the card was taken out or changed"),
            "{text}"
        );
        assert!(
            fs::read(self.medium()).unwrap() == other,
            "the wrong card was written to"
        );
        self.the_card_stays_with(&text).await;
        self.the_next_write_works().await;
    }

    async fn an_image_that_is_too_large(&mut self) {
        let (small, medium) = (
            storage(&self.exporter, "small").await,
            self.guest.usb("small").medium(),
        );
        let fits = Image::new(self.dir.path(), 4, 8 * MIB);
        fits.write(&small).await.unwrap();
        // Its size is known before.
        let shown = self.image.file.display().to_string();
        self.guest.run(&format!(
            "mkdir -p /run/images; cp {shown} /run/images/large.img"
        ));
        let device = self.exporter.device("small").await.unwrap();
        let path = vec![json!("/run/images/large.img")];
        let text = refused(device.call("write_file", path).await, Code::InvalidArgument);
        assert_eq!(
            text,
            "image too large: the card holds 8388608 bytes (8 MiB), the image has 12582912 bytes (12 MiB)"
        );
        assert!(fits.is_on(&medium));
        small.dut().await.unwrap();
        // An xz stream does not say.
        let packed = Command::new("xz")
            .args(["-0", "--keep", "--force"])
            .arg(&self.image.file)
            .status();
        assert!(packed.unwrap().success());
        let packed = self.image.file.with_extension("img.xz");
        let written = small.write_file(&packed, Compression::None).await;
        let text = refused(written, Code::InvalidArgument);
        assert!(text.starts_with("write stopped at "), "{text}");
        assert!(
            text.contains(
                "image too large: the card holds 8388608 bytes (8 MiB), the image has at least "
            ),
            "{text}"
        );
        assert_eq!(incomplete(&small).await, text);
        fits.write(&small).await.unwrap();
        small.dut().await.unwrap();
        assert!(fits.is_on(&medium));
    }

    /// After a write udev has the kernel read the partition table, and looks into the partitions itself.
    async fn a_switch_waits_for_the_kernel(&mut self) {
        let mut bytes = self.image.bytes.clone();
        // One partition from sector 2048 on, of 8 MiB.
        bytes[446..512].fill(0);
        bytes[446 + 4] = 0x83;
        bytes[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 0x40, 0, 0]);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        let image = Image::of(self.dir.path(), 5, bytes);
        let device = self.exporter.device("sdwire").await.unwrap();
        for delay in [0.1, 1.5] {
            self.card.host().await.unwrap();
            // What udev does with a card that is new must not hold up the write.
            self.guest.until("exec 9<$(node TSDWIRE.READER \"$disk\")");
            self.guest.run("exec 9<&-; udevadm settle -t 60");
            self.set(json!({"read_delay": delay}));
            let unread = json!({"verify": "none", "delta": "none"});
            let source = fs::File::open(&image.file).unwrap();
            let handle = |handle| vec![handle, unread];
            let source = tokio::fs::File::from_std(source);
            let written = device
                .upload("write", handle, source, Compression::None)
                .await;
            written.unwrap();
            let switched = timeout(STEP_LIMIT, self.card.dut())
                .await
                .expect("an answer");
            self.set(json!({"read_delay": 0}));
            if switched.is_err() {
                let text = refused(switched, Code::FailedPrecondition);
                assert!(text.starts_with("disk in use: "), "{text}");
                assert_eq!(self.guest.usb("sdwire").state()["position"], json!("host"));
                self.guest.run("udevadm settle -t 60");
                self.card.dut().await.unwrap();
            }
            let torn = self.guest.usb("sdwire").values("position", "torn").pop();
            assert_eq!(torn, Some(json!(false)));
            assert!(image.is_on(&self.medium()));
        }
    }

    async fn a_write_protected_card_is_refused(&self) {
        self.set(json!({"write_protected": true}));
        let before = fs::read(self.medium()).unwrap();
        let other = Image::new(self.dir.path(), 6, MIB);
        let text = refused(other.write(&self.card).await, Code::FailedPrecondition);
        assert!(text.starts_with("card write-protected: /dev/sd"), "{text}");
        assert!(fs::read(self.medium()).unwrap() == before);
        // It is as complete as it was.
        self.card.dut().await.unwrap();
        self.set(json!({"write_protected": false}));
        self.the_next_write_works().await;
    }

    async fn a_reader_with_another_name_is_found(&mut self) {
        let (reader, spare) = (self.guest.usb("sdwire.reader"), self.guest.usb("spare"));
        let (find, find_spare) = ("node TSDWIRE.READER \"$disk\"", "node TSPARE \"$disk\"");
        let before = self.guest.until(find);
        reader.unplug();
        self.guest.until(&format!("! {find}"));
        spare.plug();
        assert_eq!(self.guest.until(find_spare), before, "the name is free");
        reader.plug();
        assert_ne!(self.guest.until(find), before);
        self.the_next_write_works().await;
        assert!(
            fs::read(spare.medium())
                .unwrap()
                .iter()
                .all(|byte| *byte == 0)
        );
        spare.unplug();
    }

    async fn a_daemon_that_is_killed_knows_afterwards(&mut self, file: &Path) {
        let supply = self.guest.usb("supply");
        self.call("power", "on").await.unwrap();
        self.call("supply", "on").await.unwrap();
        assert_eq!(supply.state()["on"], json!([true, false]));
        self.set(json!({"rate": 2 * MIB}));
        let moves = positions(&self.guest.usb("sdwire")).len();
        let (image, card) = (self.another(12), self.card.clone());
        let file_of = image.file.clone();
        let writing =
            tokio::spawn(async move { card.write_file(&file_of, Compression::None).await });
        image.until_written(&self.medium(), 5).await;
        self.guest.kill();
        assert!(
            writing.await.unwrap().is_err(),
            "nobody tells that it is done"
        );
        self.set(json!({"rate": null}));
        self.exporter = self.guest.serve(file).await;
        self.card = storage(&self.exporter, "sdwire").await;
        self.the_card_stays_with("the last write was interrupted")
            .await;
        // What safeState says, and what a line is taken with.
        supply.wait("supply off", |_| {
            supply.state()["on"] == json!([false, false])
        });
        assert_eq!(self.guest.run("guest-gpio get power"), "0");
        assert_eq!(positions(&self.guest.usb("sdwire"))[moves..], ["host"]);
        self.the_next_write_works().await;
    }
}

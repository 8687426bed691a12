//! Cards and readers that fail while the daemon in a QEMU guest writes to them, for clients on the host:
//! what is told, what the card is known as, what is never written to, and that nothing else suffers.

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

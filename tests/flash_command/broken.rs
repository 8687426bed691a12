//! Writes that break off, and what is known of the card then.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use rigd_proto::v1::ExporterStatus::LeaseReady;
use rustix::process::Signal;

use crate::{
    lab::{Lab, reported},
    rig::{CARD, LIMIT, MIB, ONE, PART, Rig, noise, xz},
    support::daemon::{Daemon, Listen},
};

#[test]
fn a_broken_image_is_an_error_and_the_card_incomplete() {
    let mut rig = Rig::alone(ONE);
    let packed = xz(&noise(6 * MIB, 5));
    let file = rig.file("cut.img.xz", &packed[..packed.len() / 2]);
    rig.says(
        1,
        &["flash", "rig", &file],
        &["error: write stopped at ", "xz data"],
    );
    rig.refuses_dut("xz data");
    // More than the card holds is known before.
    let large = rig.file("large.img", &vec![1; CARD + 512]);
    let good = rig.file("good.img", &noise(MIB, 6));
    rig.says(0, &["flash", "rig", &good], &[]);
    rig.says(1, &["flash", "rig", &large], &["error: "]);
    rig.says(0, &["call", "rig", "storage.dut"], &[]);
    rig.daemon.stop_cleanly();
}

#[test]
fn a_command_that_ends_early_leaves_an_incomplete_card() {
    let mut rig = Rig::alone(ONE);
    let image = noise(CARD, 7);
    for (signal, code) in [
        (Signal::INT, Some(1)),
        (Signal::TERM, Some(1)),
        (Signal::KILL, None),
    ] {
        let (mut flash, stdin) = rig.begin(&image);
        // Meanwhile the instance is busy for everybody.
        rig.says(1, &["call", "rig", "storage.read", "{}"], &["busy"]);
        flash.signal(signal);
        assert_eq!(flash.ended(LIMIT).code(), code, "{signal:?}");
        if code.is_some() {
            flash.expect_line("; the card is incomplete until ");
        }
        drop(stdin);
        rig.refuses_dut("went away");
        let good = rig.file("good.img", &[1; 4096]);
        // The card is what it was for the next of them.
        let blank = rig.file("blank.img", &vec![0xee; CARD]);
        rig.says(0, &["flash", "rig", &good], &[]);
        rig.says(0, &["flash", "rig", &blank], &[]);
        rig.says(0, &["call", "rig", "storage.dut"], &[]);
    }
    // One that is read to its end is complete, whatever its size was said to be.
    let (mut flash, mut stdin) = rig.begin(&image);
    stdin.write_all(&image[PART..]).unwrap();
    drop(stdin);
    assert_eq!(flash.ended(LIMIT).code(), Some(0));
    assert!(rig.card() == image);
    rig.daemon.stop_cleanly();
}

#[test]
fn a_daemon_that_stops_ends_the_write_and_says_so() {
    let mut rig = Rig::alone(ONE);
    let (mut flash, stdin) = rig.begin(&noise(CARD, 8));
    let begun = Instant::now();
    rig.daemon.stop_cleanly();
    assert!(begun.elapsed() < Duration::from_secs(5), "it waits for it");
    assert_eq!(flash.ended(LIMIT).code(), Some(1));
    flash.expect_line("error: fenced: the exporter is stopping");
    drop(stdin);
    let file = rig.settings.path("rig.yaml");
    rig.daemon = Daemon::start(&file, Listen::Unix, &rig.settings);
    rig.until_it_answers();
    rig.refuses_dut("fenced: the exporter is stopping");
    rig.daemon.stop_cleanly();
}

#[test]
fn a_lease_that_begins_ends_the_write() {
    let lab = Lab::start();
    let mut rig = Rig::leasable(&lab);
    let (mut flash, stdin) = rig.begin(&noise(CARD, 13));
    lab.lease("rig", "bench");
    flash.expect_line("error: fenced: a lease begins");
    assert_eq!(flash.ended(LIMIT).code(), Some(1));
    drop(stdin);
    lab.wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    let (code, said) = rig.rigd(&["call", "rig", "storage.dut", "--force"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("fenced: a lease begins"), "{said}");
    rig.daemon.stop_cleanly();
}

//! `rigd flash`, with the real daemon and cards in files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod support;
mod traffic;

#[path = "flash_command/broken.rs"]
mod broken;
#[path = "flash_command/rig.rs"]
mod rig;

use std::{fs, io::Read};

use lab::{Lab, reported};
use rig::{CARD, LIMIT, MIB, ONE, Rig, bmap, noise, sha256, xz};
use rigd_proto::v1::ExporterStatus::LeaseReady;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{daemon::Daemon, settings::Settings};
use traffic::run::to_the_end;

#[test]
fn an_image_goes_to_the_only_card_and_is_read_back_as_wanted() {
    let mut rig = Rig::alone(ONE);
    let image = noise(2 * MIB, 1);
    let file = rig.file("board.img", &image);
    let sum = sha256(&image);
    rig.says(
        0,
        &["flash", "rig", &file],
        &[
            "Wrote 2097152 bytes (2 MiB) to storage, ",
            "verify full (2 MiB read back)",
            &format!("sha256 {sum}"),
        ],
    );
    rig.holds(&image);
    rig.says(0, &["call", "rig", "storage.dut"], &[]);
    let image = noise(3 * MIB + 512, 2);
    let file = rig.file("board.img", &image);
    let said = rig.says(
        0,
        &["flash", "rig/storage", &file, "--verify", "none"],
        &[", verify none, sha256 "],
    );
    assert!(!said.contains("read back"), "{said}");
    rig.holds(&image);
    // What the card has is found by comparing.
    rig.says(
        0,
        &["flash", "rig", &file, "--delta=compare"],
        &["3 MiB unchanged"],
    );
    let text = rig.daemon.output.text();
    assert!(text.contains("Flashed from the lab host."), "{text}");
    rig.daemon.stop_cleanly();
}

#[test]
fn a_packed_image_is_unpacked_and_its_map_is_found_beside_it() {
    let mut rig = Rig::alone(ONE);
    let image = noise(4 * MIB, 3);
    let packed = xz(&image);
    let file = rig.file("board.wic.xz", &packed);
    rig.says(0, &["flash", "rig", &file], &["4194304 bytes (4 MiB)"]);
    rig.holds(&image);
    // As it is.
    rig.says(
        0,
        &["flash", "rig", &file, "--format", "raw"],
        &[&format!("sha256 {}", sha256(&packed))],
    );
    assert!(rig.card().starts_with(&packed));
    let map = rig.file("board.wic.bmap", &bmap(&image, 5));
    rig.says(
        0,
        &["flash", "rig", &file],
        &[&format!("Using the block map {map}."), "20 KiB mapped"],
    );
    assert!(rig.card().starts_with(&image[..5 * 4096]));
    let said = rig.says(0, &["flash", "rig", &file, "--no-bmap"], &["(4 MiB)"]);
    assert!(!said.contains("mapped"), "{said}");
    assert!(rig.card().starts_with(&image));
    // One from elsewhere comes before the one beside it.
    let other = rig.file("other", &bmap(&image, 7));
    rig.says(
        0,
        &["flash", "rig", &file, "--bmap", &other],
        &["28 KiB mapped"],
    );
    // One of another image leaves the card as it was.
    let raw = rig.file("small.img", &image[..MIB]);
    rig.says(
        1,
        &["flash", "rig", &raw, "--bmap", &other],
        &["error: the block map is of another image"],
    );
    rig.says(0, &["call", "rig", "storage.dut"], &[]);
    rig.daemon.stop_cleanly();
}

#[test]
fn what_is_piped_in_is_an_image_as_well() {
    let mut rig = Rig::alone(ONE);
    let image = noise(MIB, 4);
    let packed = rig.file("packed", &xz(&image));
    let mut command = rig.command(&["flash", "rig", "-"]);
    command.stdin(fs::File::open(packed).unwrap());
    let (code, said) = to_the_end(command);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1048576 bytes (1 MiB) to storage"), "{said}");
    rig.holds(&image);
    rig.daemon.stop_cleanly();
}

#[test]
fn a_terminal_has_a_bar_that_goes_before_the_result() {
    let mut rig = Rig::alone(ONE);
    let file = rig.file("a.img", &noise(CARD, 14));
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let mut terminal = fs::File::from(master);
    let mut command = rig.command(&["flash", "rig", &file]);
    command.stderr(fs::File::options().write(true).open(path).unwrap());
    let (code, said) = to_the_end(command);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let mut shown = [0; 4096];
    let shown = terminal.read(&mut shown).map(|read| shown[..read].to_vec());
    let shown = String::from_utf8(shown.unwrap()).unwrap();
    assert!(shown.starts_with("\r\x1b[KWriting ["), "{shown:?}");
    assert!(shown.contains(" of 8 MiB  "), "{shown:?}");
    assert!(shown.ends_with("\r\x1b[K"), "{shown:?}");
    rig.daemon.stop_cleanly();
}

#[test]
fn interlocks_bind_it() {
    let rule = "interlocks:\n  - {name: card, deny: [storage.write], unless: {power: off}}\n";
    let mut rig = Rig::alone(&format!("{ONE}{rule}"));
    let file = rig.file("a.img", &noise(MIB, 15));
    rig.says(0, &["call", "rig", "power.on"], &[]);
    rig.says(
        1,
        &["flash", "rig", &file],
        &["error: interlock card: storage.write needs power to be off; it is on"],
    );
    // Another way to write is the same to a rule.
    let given = format!("\"{file}\"");
    rig.says(
        1,
        &["call", "rig", "storage.write_file", &given],
        &["interlock card: storage.write_file needs power to be off; it is on"],
    );
    assert!(rig.card().iter().all(|byte| *byte == 0xee));
    rig.says(0, &["call", "rig", "power.off"], &[]);
    rig.says(0, &["flash", "rig", &file], &["to storage, "]);
    rig.daemon.stop_cleanly();
}

#[test]
fn what_cannot_be_flashed_is_told_before_anything_is_asked() {
    let settings = Settings::new();
    let says = |args: &[&str], wanted: &str| {
        let mut command = Daemon::command(&settings);
        command.arg("flash").args(args);
        let (code, said) = to_the_end(command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
    };
    let path = |name: &str| settings.path(name).to_str().unwrap().to_owned();
    says(
        &["rig", &path("none.img")],
        "none.img: No such file or directory",
    );
    says(&["rig", &path("home")], "is a directory");
    fs::write(settings.path("a.img"), "").unwrap();
    says(&["rig", &path("a.img")], "is empty");
    fs::write(settings.path("a.img"), "image").unwrap();
    says(
        &["rig", &path("a.img"), "--bmap", &path("none")],
        "error: cannot read block map ",
    );
    // With all of that right a daemon is looked for.
    says(&["rig", &path("a.img")], "no rigd answers");
}

#[test]
fn the_card_has_to_be_clear() {
    let two = format!("{ONE}  spare: {{type: storage.disk, config: {{device: @DIR@/spare}}}}\n");
    let mut rig = Rig::alone(&two);
    let file = rig.file("a.img", &noise(MIB, 9));
    let cards = "its cards are: storage, spare";
    for (target, wanted) in [
        ("rig", "error: which card? Write EXPORTER/PATH; "),
        ("rig/power", "error: 'power' is no card; "),
        (
            "rig/storag",
            "error: no card 'storag'; did you mean 'storage'?; ",
        ),
    ] {
        rig.says(1, &["flash", target, &file], &[wanted, cards]);
    }
    rig.says(
        1,
        &["flash", "other", &file],
        &["error: no exporter 'other'; there are: rig"],
    );
    rig.says(2, &["flash", "rig/", &file], &["board-1/dutlink.storage"]);
    rig.says(0, &["flash", "rig/spare", &file], &["to spare, "]);
    assert!(rig.card().iter().all(|byte| *byte == 0xee), "the other one");
    rig.daemon.stop_cleanly();

    let mut rig = Rig::alone("export:\n  power: {type: power.mock}\n");
    let file = rig.file("a.img", b"image");
    rig.says(
        1,
        &["flash", "rig", &file],
        &["error: the exporter has no card"],
    );
    rig.daemon.stop_cleanly();
}

#[test]
fn a_lease_is_in_the_way() {
    let lab = Lab::start();
    let mut rig = Rig::leasable(&lab);
    let image = noise(MIB, 10);
    let file = rig.file("a.img", &image);
    rig.says(0, &["flash", "rig", &file], &["to storage, "]);
    let lease = lab.lease("rig", "bench");
    lab.wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    let other = noise(MIB, 11);
    let file = rig.file("b.img", &other);
    rig.says(
        1,
        &["flash", "rig", &file],
        &["error: leased to ", &format!("(lease {lease})"), "--force"],
    );
    rig.holds(&image);
    rig.says(0, &["flash", "rig", &file, "--force"], &["to storage, "]);
    rig.holds(&other);
    rig.daemon.stop_cleanly();
}

#[test]
fn a_path_of_the_host_is_for_clients_only_below_image_roots() {
    let roots = ONE.replace(
        "@DIR@/card",
        "@DIR@/card, flash: {imageRoots: [@DIR@/home]}",
    );
    let mut rig = Rig::alone(&roots);
    let image = noise(MIB, 12);
    let outside = rig.file("a.img", &image);
    let inside = rig.file("home/a.img", &image);
    rig.says(
        1,
        &["call", "rig", "storage.write_file", &outside],
        &["error: not below imageRoots: "],
    );
    rig.says(0, &["call", "rig", "storage.write_file", &inside], &[]);
    // Who runs the command needs no such directory.
    rig.says(0, &["flash", "rig", &outside], &["to storage, "]);
    rig.daemon.stop_cleanly();
}

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

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use lab::{Lab, reported};
use rigd_proto::v1::ExporterStatus::{Available, LeaseReady};
use rustix::process::Signal;
use sha2::{Digest, Sha256};
use support::{
    daemon::{Daemon, Listen},
    settings::Settings,
};
use traffic::run::{Running, to_the_end};

const LIMIT: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;
/// Size of the cards.
const CARD: usize = 8 * MIB;
/// More than one buffer of the engine, which goes to the card when it is full.
const PART: usize = 5 * MIB;

const ONE: &str = "\
export:
  power: {type: power.mock}
  storage: {type: storage.disk, config: {device: @DIR@/card}}
";

/// A daemon for one exporter named `rig`, and cards that are full of 0xee.
struct Rig {
    // Before its directories.
    daemon: Daemon,
    settings: Settings,
}

impl Rig {
    fn alone(tree: &str) -> Self {
        let settings = Settings::new();
        let file = prepare(&settings, &format!("metadata: {{name: rig}}\n{tree}"));
        let daemon = Daemon::start(&file, Listen::Unix, &settings);
        let rig = Self { daemon, settings };
        rig.until_it_answers();
        rig
    }

    /// The exporter's own socket may be there before that of the commands.
    fn until_it_answers(&self) {
        let end = Instant::now() + LIMIT;
        while self.rigd(&["status", "rig"]).0 != Some(0) {
            assert!(Instant::now() < end, "no control socket");
        }
    }

    fn leasable(lab: &Lab) -> Self {
        let settings = Settings::new();
        let file = prepare(&settings, &lab.exporter_yaml("rig", ONE));
        let daemon = Daemon::serve(&[&file], &settings);
        lab.wait(LIMIT, |heard| reported(heard, "rig", Available));
        Self { daemon, settings }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Daemon::command(&self.settings);
        command
            .env_remove("RIGD_SOCKET")
            .env_remove("RIGD_RUNTIME_DIR")
            .args(args);
        command
    }

    fn rigd(&self, args: &[&str]) -> (Option<i32>, String) {
        to_the_end(self.command(args))
    }

    #[track_caller]
    fn says(&self, code: i32, args: &[&str], wanted: &[&str]) -> String {
        let (found, said) = self.rigd(args);
        assert_eq!(found, Some(code), "rigd {args:?} said {said}");
        for wanted in wanted {
            assert!(
                said.contains(wanted),
                "rigd {args:?}: no {wanted:?} in {said}"
            );
        }
        said
    }

    /// A file beside the cards; its name for arguments.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.settings.path(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn card(&self) -> Vec<u8> {
        fs::read(self.settings.path("card")).unwrap()
    }

    /// The image on the card, and behind it what was there before.
    #[track_caller]
    fn holds(&self, image: &[u8]) {
        let card = self.card();
        assert_eq!(card.len(), CARD);
        assert!(card.starts_with(image), "another image");
        assert!(card[image.len()..].iter().all(|byte| *byte == 0xee));
    }

    /// Writes the first part of an image, and goes on only when the test does.
    fn begin(&self, image: &[u8]) -> (Running, ChildStdin) {
        let mut command = self.command(&["flash", "rig", "-"]);
        command.stdin(Stdio::piped());
        let mut child = Running::spawn(command);
        let mut stdin = child.stdin();
        stdin.write_all(&image[..PART]).unwrap();
        stdin.flush().unwrap();
        let changed = || self.card().first() != Some(&0xee);
        let end = Instant::now() + LIMIT;
        while !changed() {
            assert!(Instant::now() < end, "nothing comes to the card");
            std::thread::sleep(Duration::from_millis(20));
        }
        (child, stdin)
    }

    /// The card is kept from the board, for this reason.
    #[track_caller]
    fn refuses_dut(&self, cause: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let (code, said) = self.rigd(&["call", "rig", "storage.dut"]);
            assert_eq!(code, Some(1), "{said}");
            // The write may still be ending.
            if said.starts_with("error: card incomplete: ") && said.contains(cause) {
                return;
            }
            assert!(Instant::now() < end, "no {cause:?} in {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn prepare(settings: &Settings, yaml: &str) -> PathBuf {
    for card in ["card", "spare"] {
        fs::write(settings.path(card), vec![0xee; CARD]).unwrap();
    }
    let dir = settings.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    let file = settings.path("rig.yaml");
    fs::write(&file, yaml.replace("@DIR@", dir)).unwrap();
    file
}

/// Bytes that no compression makes small.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A block map of the first `blocks` blocks of `image`.
fn bmap(image: &[u8], blocks: usize) -> Vec<u8> {
    let sum = sha256(&image[..blocks * 4096]);
    let last = blocks - 1;
    let text = |own: &str| {
        format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n\
             <ImageSize> {} </ImageSize>\n<BlockSize> 4096 </BlockSize>\n\
             <BlocksCount> {} </BlocksCount>\n<MappedBlocksCount> {blocks} </MappedBlocksCount>\n\
             <ChecksumType> sha256 </ChecksumType>\n<BmapFileChecksum> {own} </BmapFileChecksum>\n\
             <BlockMap>\n<Range chksum=\"{sum}\"> 0-{last} </Range>\n</BlockMap>\n</bmap>\n",
            image.len(),
            image.len() / 4096,
        )
    };
    let own = sha256(text(&"0".repeat(64)).as_bytes());
    text(&own).into_bytes()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut child: Child = Command::new("xz")
        .args(["-0", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let mut packed = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut packed)
        .unwrap();
    feeder.join().unwrap();
    assert!(child.wait().unwrap().success());
    packed
}

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

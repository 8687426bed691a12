//! A daemon with cards in files, images for them, and the command.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use rigd_proto::v1::ExporterStatus::Available;
use sha2::{Digest, Sha256};

use crate::{
    lab::{Lab, reported},
    support::{
        daemon::{Daemon, Listen},
        settings::Settings,
    },
    traffic::run::{Running, to_the_end},
};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const MIB: usize = 1 << 20;
/// Size of the cards.
pub(crate) const CARD: usize = 8 * MIB;
/// More than one buffer of the engine, which goes to the card when it is full.
pub(crate) const PART: usize = 5 * MIB;

pub(crate) const ONE: &str = "\
export:
  power: {type: power.mock}
  storage: {type: storage.disk, config: {device: @DIR@/card}}
";

/// A daemon for one exporter named `rig`, and cards that are full of 0xee.
pub(crate) struct Rig {
    // Before its directories.
    pub(crate) daemon: Daemon,
    pub(crate) settings: Settings,
}

impl Rig {
    pub(crate) fn alone(tree: &str) -> Self {
        let settings = Settings::new();
        let file = prepare(&settings, &format!("metadata: {{name: rig}}\n{tree}"));
        let daemon = Daemon::start(&file, Listen::Unix, &settings);
        let rig = Self { daemon, settings };
        rig.until_it_answers();
        rig
    }

    /// The exporter's own socket may be there before that of the commands.
    pub(crate) fn until_it_answers(&self) {
        let end = Instant::now() + LIMIT;
        while self.rigd(&["status", "rig"]).0 != Some(0) {
            assert!(Instant::now() < end, "no control socket");
        }
    }

    pub(crate) fn leasable(lab: &Lab) -> Self {
        let settings = Settings::new();
        let file = prepare(&settings, &lab.exporter_yaml("rig", ONE));
        let daemon = Daemon::serve(&[&file], &settings);
        lab.wait(LIMIT, |heard| reported(heard, "rig", Available));
        Self { daemon, settings }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Daemon::command(&self.settings);
        command
            .env_remove("RIGD_SOCKET")
            .env_remove("RIGD_RUNTIME_DIR")
            .args(args);
        command
    }

    pub(crate) fn rigd(&self, args: &[&str]) -> (Option<i32>, String) {
        to_the_end(self.command(args))
    }

    #[track_caller]
    pub(crate) fn says(&self, code: i32, args: &[&str], wanted: &[&str]) -> String {
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
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.settings.path(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn card(&self) -> Vec<u8> {
        fs::read(self.settings.path("card")).unwrap()
    }

    /// The image on the card, and behind it what was there before.
    #[track_caller]
    pub(crate) fn holds(&self, image: &[u8]) {
        let card = self.card();
        assert_eq!(card.len(), CARD);
        assert!(card.starts_with(image), "another image");
        assert!(card[image.len()..].iter().all(|byte| *byte == 0xee));
    }

    /// Writes the first part of an image, and goes on only when the test does.
    pub(crate) fn begin(&self, image: &[u8]) -> (Running, ChildStdin) {
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
    pub(crate) fn refuses_dut(&self, cause: &str) {
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

pub(crate) fn prepare(settings: &Settings, yaml: &str) -> PathBuf {
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
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
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

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A block map of the first `blocks` blocks of `image`.
pub(crate) fn bmap(image: &[u8], blocks: usize) -> Vec<u8> {
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

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
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

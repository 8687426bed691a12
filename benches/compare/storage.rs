//! Images: into memory for what the exporter itself can do, and onto the disk, synced.

use std::{
    fs,
    io::Write,
    path::Path,
    pin::Pin,
    process::{Command, Stdio},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rigd_client::Compression;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};

use crate::{
    Effort, Failure, median,
    peers::{Kind, Peer, Peers, Place, in_turns},
    table::{Goal, Table, Unit},
};

/// Long enough for a slow disk.
const DEADLINE: Duration = Duration::from_secs(60);

/// As much memory as the daemon may have while an image of any size passes.
const MEMORY_GOAL: f64 = 24.0 * 1024.0 * 1024.0;

pub(crate) async fn measure(peers: &Peers, effort: &Effort, table: &mut Table) {
    let reset = || -> Result<(), Failure> {
        for side in peers.python.iter().chain([&peers.rigd]) {
            side.peer.process.reset_peak()?;
        }
        Ok(())
    };
    let reset = reset();
    let rates = in_turns(peers, effort.repetitions.min(3), async |peer| {
        upload(peer, effort.image).await
    });
    let mib = effort.image / 1024 / 1024;
    table.add(
        &format!("{mib} MiB image to a file, Rust client, page cache"),
        Unit::Rate,
        Goal::AtLeastTimes(2.5),
        rates.await,
    );
    let peaks = || {
        reset?;
        let python = match &peers.python {
            Some(side) => Some(side.peer.process.peak()?),
            None => None,
        };
        Ok((python, Some(peers.rigd.peer.process.peak()?)))
    };
    table.add(
        "memory while flashing it, peak RSS",
        Unit::Bytes,
        Goal::AtMost(MEMORY_GOAL),
        peaks(),
    );
}

/// Bytes a second.
async fn upload(peer: &Peer, bytes: u64) -> Result<f64, Failure> {
    let storage = peer.exporter.device("storage").await?;
    let began = Instant::now();
    let write = storage.upload("write", |it| vec![it], Image::new(bytes), Compression::None);
    timeout(DEADLINE, write)
        .await
        .map_err(|_| format!("{bytes} bytes took over {DEADLINE:?}"))??;
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// rigd onto the disk beside `dd` onto the same disk, both until the disk has it.
pub(crate) async fn synced(place: &Place, effort: &Effort, table: &mut Table) {
    let mib = effort.image / 1024 / 1024;
    table.add(
        &format!("{mib} MiB image to a disk, synced; left: `dd conv=fdatasync`"),
        Unit::Rate,
        Goal::None,
        beside_dd(place, effort).await,
    );
}

async fn beside_dd(place: &Place, effort: &Effort) -> Result<(Option<f64>, Option<f64>), Failure> {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let dir = place.fresh_dir("synced")?;
    let card = disk.path().join("card.img");
    let file = dir.join("exporters/synced.yaml");
    fs::write(&file, synced_exporter(&card))?;
    let rigd = Peer::start(place, Kind::Rigd, &dir, &file).await?;
    let (mut dd, mut daemon) = (vec![], vec![]);
    for _ in 0..effort.repetitions.min(3) {
        dd.push(dd_rate(&disk.path().join("dd.img"), effort.image)?);
        daemon.push(upload(&rigd, effort.image).await?);
        // Space that dirty pages need is free again, and both begin with a new file.
        fs::remove_file(&card)?;
    }
    Ok((Some(median(dd)), Some(median(daemon))))
}

fn synced_exporter(card: &Path) -> String {
    format!(
        "apiVersion: jumpstarter.dev/v1alpha1\n\
         kind: ExporterConfig\n\
         metadata: {{namespace: default, name: synced}}\n\
         export:\n\
         \x20 power: {{type: power.mock}}\n\
         \x20 storage: {{type: storage.file, config: {{path: \"{}\", flash: {{verify: none}}}}}}\n",
        card.display()
    )
}

/// Writes the same bytes through a pipe.
fn dd_rate(file: &Path, bytes: u64) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut dd = Command::new("dd")
        .arg(format!("of={}", file.display()))
        .args(["bs=64K", "iflag=fullblock", "conv=fdatasync"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = dd.stdin.take().ok_or("dd has no input")?;
    let mut written = 0;
    while written < bytes {
        let chunk = Image::chunk(written, bytes);
        input.write_all(chunk)?;
        written += chunk.len() as u64;
    }
    drop(input);
    if !dd.wait()?.success() {
        return Err("dd failed".into());
    }
    let rate = bytes as f64 / began.elapsed().as_secs_f64();
    fs::remove_file(file)?;
    Ok(rate)
}

/// An image made on the fly, so that reading it costs nothing but a copy. Not zeros, which file
/// systems and disks may treat as holes.
struct Image {
    position: u64,
    length: u64,
}

/// Repeated over the image.
static PATTERN: [u8; 64 * 1024] = pattern();

const fn pattern() -> [u8; 64 * 1024] {
    let mut bytes = [0; 64 * 1024];
    let mut state: u32 = 1;
    let mut index = 0;
    while index < bytes.len() {
        // A linear congruential generator; its upper bits look random enough.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[index] = (state >> 24) as u8;
        index += 1;
    }
    bytes
}

impl Image {
    fn new(length: u64) -> Self {
        Self {
            position: 0,
            length,
        }
    }

    /// The bytes from a position on, up to the end of the pattern or of the image.
    fn chunk(position: u64, length: u64) -> &'static [u8] {
        let offset = (position % PATTERN.len() as u64) as usize;
        let rest = PATTERN.split_at(offset).1;
        let left = usize::try_from(length - position).unwrap_or(usize::MAX);
        rest.split_at(rest.len().min(left)).0
    }
}

impl AsyncRead for Image {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let chunk = Self::chunk(self.position, self.length);
        let chunk = chunk.split_at(chunk.len().min(buf.remaining())).0;
        buf.put_slice(chunk);
        self.position += chunk.len() as u64;
        Poll::Ready(Ok(()))
    }
}

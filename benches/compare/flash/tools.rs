//! What people write cards with.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::Failure;

/// Seconds that `dd` takes past the page cache, to the end of a sync.
pub(crate) fn dd(image: &Path, card: &Path, bytes: Option<u64>) -> Result<f64, Failure> {
    let mut dd = to_card(card);
    dd.arg(format!("if={}", image.display()));
    if let Some(bytes) = bytes {
        dd.arg(format!("count={bytes}")).arg("iflag=count_bytes");
    }
    timed(&mut dd)
}

/// The same of a compressed image, through the program that unpacks it.
pub(crate) fn unpacked(program: &str, image: &Path, card: &Path) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut unpack = Command::new(program)
        .arg("-dc")
        .stdin(File::open(image)?)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    let bytes = unpack.stdout.take().ok_or("a pipe has an end")?;
    timed(to_card(card).arg("iflag=fullblock").stdin(bytes))?;
    if !unpack.wait()?.success() {
        return Err(format!("{program} failed").into());
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds that `bmaptool` takes, checksums of the map included.
pub(crate) fn bmaptool(image: &Path, map: &Path, card: &Path) -> Result<f64, Failure> {
    let mut tool = Command::new("bmaptool");
    tool.args(["--quiet", "copy", "--no-sig-verify", "--bmap"]);
    timed(tool.args([map, image, card]))
}

/// Writes the map of an image.
pub(crate) fn make_map(image: &Path, map: &Path) -> Result<(), Failure> {
    let mut tool = Command::new("bmaptool");
    timed(tool.arg("create").arg("--output").args([map, image])).map(drop)
}

fn to_card(card: &Path) -> Command {
    let mut dd = Command::new("dd");
    dd.arg(format!("of={}", card.display())).args([
        "bs=4M",
        "oflag=direct",
        "conv=fsync,notrunc",
        "status=none",
    ]);
    dd
}

fn timed(command: &mut Command) -> Result<f64, Failure> {
    let program = command.get_program().to_owned();
    let began = Instant::now();
    let ended = command
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(format!("{}: {}", program.display(), said.trim()).into());
    }
    Ok(began.elapsed().as_secs_f64())
}

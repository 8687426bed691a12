//! Images onto a card, source a file of this machine, read back by nobody: rigd, the Python exporter,
//! and what people use without either.
//!
//! Every figure ends when the card has the bytes. The card is a loop device past the page cache, so root
//! is needed.

mod card;
mod images;
mod meanwhile;
mod tools;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use card::Card;
use images::Image;
use meanwhile::Calls;
use rigd_client::{Compression, Device};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Effort, Failure, median,
    peers::{Kind, Peer, Place, write_exporter},
    table::{Goal, Table, Unit},
};

type Figures = Result<(Option<f64>, Option<f64>), Failure>;

const MIB: u64 = 1024 * 1024;
/// Longer than any image here takes on a slow card.
const DEADLINE: Duration = Duration::from_secs(600);
/// Memory of the daemon while an image passes, without what the codec remembers.
const MEMORY: f64 = 24.0 * 1024.0 * 1024.0;
/// What `xz -3` remembers of its output, the most of all packers here.
const WINDOW: f64 = 4.0 * 1024.0 * 1024.0;
/// How long calls are made without a card that flushes.
const IDLE: Duration = Duration::from_secs(5);
/// Bytes a second of a slow card, as they are sold.
const SLOW: u64 = 40_000_000;

/// What is written.
struct Images {
    raw: Image,
    packed: Vec<(&'static str, Image)>,
    holes: Image,
    map: PathBuf,
}

impl Images {
    fn new(dir: &Path, sizes: &Sizes) -> Result<Self, Failure> {
        let raw = Image::raw(dir, sizes.raw)?;
        let packed = Image::raw(dir, sizes.packed)?.packed()?;
        let holes = Image::with_holes(dir, sizes.holes, sizes.data)?;
        // Not beside the image, where it would be found.
        let map = dir.join("map");
        tools::make_map(&holes.file, &map)
            .map_err(|error| format!("no map (Debian's bmap-tools makes it): {error}"))?;
        Ok(Self {
            raw,
            packed,
            holes,
            map,
        })
    }
}

/// Bytes.
struct Sizes {
    raw: u64,
    packed: u64,
    holes: u64,
    data: u64,
}

pub(crate) async fn measure(place: &Place, effort: &Effort, table: &mut Table) {
    let small = effort.image < 512 * MIB;
    let sizes = match small {
        true => Sizes {
            raw: 128 * MIB,
            packed: 64 * MIB,
            holes: 256 * MIB,
            data: 64 * MIB,
        },
        false => Sizes {
            raw: 2048 * MIB,
            packed: 512 * MIB,
            holes: 8192 * MIB,
            data: 600 * MIB,
        },
    };
    if let Err(failure) = rows(place, effort, &sizes, table).await {
        table.add("images onto a card", Unit::Rate, Goal::None, Err(failure));
    }
}

async fn rows(
    place: &Place,
    effort: &Effort,
    sizes: &Sizes,
    table: &mut Table,
) -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let images = Images::new(dir.path(), sizes)?;
    let card = Card::new(dir.path(), sizes.holes.max(sizes.raw))?;
    let rigd = Side::rigd(place, &card.device, dir.path()).await?;
    let python = match place.venv {
        Some(_) => Some(Side::python(place, &card.device).await?),
        None => None,
    };
    let turns = effort.repetitions.min(3);
    let bench = Bench {
        card: &card,
        rigd: &rigd,
        python: python.as_ref(),
        turns,
    };
    bench.fast(&images, table).await;
    bench.again(&images, table).await;
    card.slow_down(SLOW)?;
    let bench = Bench {
        card: &card,
        turns: 1,
        ..bench
    };
    bench.slow(&images, sizes, dir.path(), table).await
}

#[derive(Clone, Copy)]
struct Bench<'a> {
    card: &'a Card,
    rigd: &'a Side,
    python: Option<&'a Side>,
    turns: usize,
}

impl Bench<'_> {
    /// On a card that is as fast as the machine's disk.
    async fn fast(&self, images: &Images, table: &mut Table) {
        let Images {
            raw, packed, holes, ..
        } = images;
        let mib = raw.bytes / MIB;
        self.reset();
        let what = format!("{mib} MiB raw; left: `dd oflag=direct`");
        let figures = self.beside_dd(raw).await;
        table.add(&what, Unit::Rate, Goal::AtLeastTimes(0.9), figures);
        let what = "memory while writing it, peak RSS";
        table.add(what, Unit::Bytes, Goal::AtMost(MEMORY), self.peak());
        let what = format!("{mib} MiB raw from a client");
        let figures = self.beside_python(raw, Compression::None).await;
        table.add(&what, Unit::Rate, Goal::None, figures);
        self.reset();
        for (program, image) in packed {
            let mib = image.bytes / MIB;
            let what = format!("{mib} MiB packed by {program}; left: `{program} -dc | dd`");
            let figures = self.beside_unpacked(program, image).await;
            table.add(&what, Unit::Rate, Goal::None, figures);
            let compression = match *program {
                "xz" => Compression::Xz,
                "gzip" => Compression::Gzip,
                _ => Compression::Zstd,
            };
            let what = format!("{mib} MiB packed by {program}, from a client");
            let figures = self.beside_python(image, compression).await;
            table.add(&what, Unit::Rate, Goal::None, figures);
        }
        let what = "memory while writing these, peak RSS";
        let goal = Goal::AtMost(MEMORY + WINDOW);
        table.add(what, Unit::Bytes, goal, self.peak());
        let what = format!(
            "{} MiB of data in a sparse image by its map; left: `bmaptool`",
            holes.bytes / MIB
        );
        let figures = self.beside_bmaptool(images).await;
        table.add(&what, Unit::Rate, Goal::AtLeastTimes(1.0), figures);
    }

    /// The same image once more.
    async fn again(&self, images: &Images, table: &mut Table) {
        let raw = &images.raw;
        let mib = raw.bytes / MIB;
        for (what, delta, goal) in [
            ("hashes valid", "proven", Goal::AtLeastTimes(5.0)),
            ("by reading the card", "compare", Goal::None),
        ] {
            let figures = self.rewrite(raw, delta).await;
            let what = format!("{mib} MiB raw again, {what}; left: the first time");
            table.add(&what, Unit::Rate, goal, figures);
        }
    }

    /// On a card as they are sold.
    async fn slow(
        &self,
        images: &Images,
        sizes: &Sizes,
        dir: &Path,
        table: &mut Table,
    ) -> Result<(), Failure> {
        let raw = Image::raw(dir, sizes.packed / 2)?;
        let mib = raw.bytes / MIB;
        let what = format!("slow card: {mib} MiB raw; left: `dd oflag=direct`");
        let figures = self.beside_dd(&raw).await;
        table.add(&what, Unit::Rate, Goal::AtLeastTimes(0.9), figures);
        let what = format!("slow card: {mib} MiB raw from a client");
        let figures = self.beside_python(&raw, Compression::None).await;
        table.add(&what, Unit::Rate, Goal::None, figures);
        for (program, image) in &images.packed {
            let mib = image.bytes / MIB;
            let what =
                format!("slow card: {mib} MiB packed by {program}; left: `{program} -dc | dd`");
            let figures = self.beside_unpacked(program, image).await;
            table.add(&what, Unit::Rate, Goal::None, figures);
        }
        let what = "slow card: the sparse image by its map; left: `bmaptool`";
        let figures = self.beside_bmaptool(images).await;
        table.add(what, Unit::Rate, Goal::AtLeastTimes(1.0), figures);
        for (what, delta) in [
            ("hashes valid", "proven"),
            ("by reading the card", "compare"),
        ] {
            let figures = self.rewrite(&raw, delta).await;
            let what = format!("slow card: {mib} MiB raw again, {what}; left: the first time");
            table.add(&what, Unit::Rate, Goal::None, figures);
        }
        let what = "another client's call of rigd while a card flushes, p99; left: idle";
        let options = json!({"delta": "none"});
        let writing = self.rigd.write_file(&raw, &options);
        let figures = calls_meanwhile(self.rigd, writing).await;
        table.add(what, Unit::Seconds, Goal::AtMostTimes(2.0), figures);
        for (name, side) in [("rigd", Some(self.rigd)), ("Python", self.python)] {
            let Some(side) = side else { continue };
            let writing = side.upload(&raw, Compression::None);
            let figures = calls_meanwhile(side, writing).await;
            let what = format!("the same of {name} while a client uploads the image");
            table.add(&what, Unit::Seconds, Goal::None, figures);
        }
        Ok(())
    }

    fn reset(&self) {
        for side in self.python.iter().chain([&self.rigd]) {
            // A kernel without it shows higher peaks.
            side.peer.process.reset_peak().ok();
        }
    }

    fn peak(&self) -> Figures {
        let python = self.python.map(|side| side.peer.process.peak());
        Ok((python.transpose()?, Some(self.rigd.peer.process.peak()?)))
    }

    async fn beside_dd(&self, image: &Image) -> Figures {
        let dd = || tools::dd(&image.file, &self.card.device, None);
        self.rates(image, dd, json!({"delta": "none"})).await
    }

    async fn beside_unpacked(&self, program: &str, image: &Image) -> Figures {
        let unpack = || tools::unpacked(program, &image.file, &self.card.device);
        self.rates(image, unpack, json!({"delta": "none"})).await
    }

    async fn beside_bmaptool(&self, images: &Images) -> Figures {
        let bmap = std::fs::read_to_string(&images.map)?;
        let options = json!({"delta": "none", "bmap": bmap});
        let tool = || tools::bmaptool(&images.holes.file, &images.map, &self.card.device);
        self.rates(&images.holes, tool, options).await
    }

    /// Bytes a second of a tool and of rigd, in turns.
    async fn rates(
        &self,
        image: &Image,
        tool: impl Fn() -> Result<f64, Failure>,
        options: Value,
    ) -> Figures {
        let (mut left, mut right) = (vec![], vec![]);
        for _ in 0..self.turns {
            left.push(image.bytes as f64 / tool()?);
            self.card.settle()?;
            right.push(image.bytes as f64 / self.rigd.write_file(image, &options).await?);
            self.card.settle()?;
        }
        Ok((Some(median(left)), Some(median(right))))
    }

    /// Bytes a second of both exporters for a client that sends the image, in turns.
    async fn beside_python(&self, image: &Image, compression: Compression) -> Figures {
        let (mut left, mut right) = (vec![], vec![]);
        for _ in 0..self.turns {
            if let Some(python) = self.python {
                left.push(image.bytes as f64 / python.upload(image, compression).await?);
                self.card.settle()?;
            }
            right.push(image.bytes as f64 / self.rigd.upload(image, compression).await?);
            self.card.settle()?;
        }
        let left = self.python.is_some().then(|| median(left));
        Ok((left, Some(median(right))))
    }

    /// Bytes a second of a first write and of the same one once more.
    async fn rewrite(&self, image: &Image, delta: &str) -> Figures {
        let (mut first, mut second) = (vec![], vec![]);
        for _ in 0..self.turns {
            for (delta, figures) in [("none", &mut first), (delta, &mut second)] {
                if delta == "compare" {
                    // Somebody else writes a page: nothing is known of the card any more.
                    tools::dd(Path::new("/dev/zero"), &self.card.device, Some(4096))?;
                }
                let options = json!({"delta": delta});
                figures.push(image.bytes as f64 / self.rigd.write_file(image, &options).await?);
            }
        }
        Ok((Some(median(first)), Some(median(second))))
    }
}

/// p99 of a call to another instrument while nothing else is done, and while an image is written.
async fn calls_meanwhile(
    side: &Side,
    writing: impl Future<Output = Result<f64, Failure>>,
) -> Figures {
    let calls = Calls::start(&side.peer.address);
    tokio::time::sleep(IDLE).await;
    let idle = calls.p99().await?;
    let calls = Calls::start(&side.peer.address);
    let written = writing.await;
    let busy = calls.p99().await?;
    written?;
    Ok((Some(idle), Some(busy)))
}

/// An exporter with the card.
struct Side {
    peer: Peer,
    card: Device,
}

impl Side {
    async fn rigd(place: &Place, card: &Path, images: &Path) -> Result<Self, Failure> {
        let config = format!(
            "{{device: {}, flash: {{verify: none, findBmap: false, imageRoots: [{}]}}}}",
            card.display(),
            images.display()
        );
        Self::start(place, Kind::Rigd, "storage.disk", &config).await
    }

    async fn python(place: &Place, card: &Path) -> Result<Self, Failure> {
        let config = format!("{{storage_device: {}, storage_leeway: 0}}", card.display());
        Self::start(place, Kind::Python, "boardless_mux.BoardlessMux", &config).await
    }

    async fn start(place: &Place, kind: Kind, driver: &str, config: &str) -> Result<Self, Failure> {
        let dir = place.fresh_dir(&format!("flash-{kind:?}"))?;
        let text = format!(
            "apiVersion: jumpstarter.dev/v1alpha1\n\
             kind: ExporterConfig\n\
             metadata: {{namespace: default, name: flash}}\n\
             export:\n\
             \x20 power: {{type: jumpstarter_driver_power.driver.MockPower}}\n\
             \x20 card: {{type: {driver}, config: {config}}}\n"
        );
        let file = write_exporter(&dir, "flash", &text)?;
        let peer = Peer::start(place, kind, &dir, &file).await?;
        let card = peer.exporter.device("card").await?;
        Ok(Self { peer, card })
    }

    /// Seconds for a file that the daemon reads itself.
    async fn write_file(&self, image: &Image, options: &Value) -> Result<f64, Failure> {
        let began = Instant::now();
        let args = vec![json!(image.file), options.clone()];
        timeout(DEADLINE, self.card.call("write_file", args)).await??;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Seconds for a file that a client sends as it is.
    async fn upload(&self, image: &Image, compression: Compression) -> Result<f64, Failure> {
        let began = Instant::now();
        let storage = self.card.clone().storage();
        timeout(DEADLINE, storage.write_file(&image.file, compression)).await??;
        Ok(began.elapsed().as_secs_f64())
    }
}

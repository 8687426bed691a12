//! Finds the line that a configuration names. What is not found is told with what there is.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use rigd_device::UsbMatch;
use rigd_driver::OpenError;

use crate::{
    config::{DEFAULT_CHIP, LineName},
    line::{Chip, Chips},
};

/// More candidates than this are counted, and not listed.
const LISTED: usize = 8;
/// How alike a name must be to be offered: 0 nothing in common, 1 the same.
const ALIKE: f64 = 0.7;

/// A line that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) chip: PathBuf,
    pub(crate) offset: u32,
    pub(crate) name: Option<String>,
    /// The chip as sysfs knows it.
    pub(crate) device: Option<rigd_device::Found>,
    /// For messages: `line 0 ("relay1") of gpiochip0 (relays)`.
    pub(crate) place: String,
}

/// The line `line` of the chip `device`, or of any chip; of those behind a USB device that fits, if
/// a key of `usb` is given.
pub(crate) fn find<C: Chips>(
    device: Option<&str>,
    usb: &UsbMatch,
    line: &LineName,
) -> Result<Found, OpenError> {
    let chips = match (device, line) {
        (Some(path), _) if path.starts_with('/') => vec![at_path::<C>(path)?],
        (Some(name), _) => named::<C>(name)?,
        (None, LineName::Offset(_)) if usb.is_empty() => vec![at_path::<C>(DEFAULT_CHIP)?],
        (None, _) => all::<C>()?.described(|| "no GPIO chip can be opened".into())?,
    };
    let chips = on_usb(chips, usb)?;
    let found = candidates(&chips, line);
    match (&found[..], &chips[..]) {
        ([one], _) => Ok(one.clone()),
        ([], [chip]) => Err(OpenError::Faulty(no_such_line(chip, line))),
        ([], _) => {
            let LineName::Name(name) = line else {
                // A label that several chips have, or a USB device with several chips.
                return Err(OpenError::Faulty(ambiguous(&chips)));
            };
            let known = chips.iter().flat_map(|chip| chip.lines.iter().flatten());
            let nearest = nearest(name, known.map(String::as_str));
            let text = format!("no GPIO chip has a line called {name:?}{nearest}");
            Err(OpenError::Absent(format!("{text}; {}", there_are(&chips))))
        }
        (_, [_]) => {
            let text = format!("{} lines have this name; write the offset", found.len());
            let places: Vec<_> = found.iter().map(|f| f.place.clone()).collect();
            Err(OpenError::Faulty(format!("{text}: {}", list(&places))))
        }
        _ => {
            let places: Vec<_> = found.iter().map(|f| f.place.clone()).collect();
            let places = list(&places);
            let text = "is not enough to tell the line: name its chip with `device` (label, name or path) or `usb`";
            Err(OpenError::Faulty(format!(
                "{} {text}; there are {places}",
                shown(line)
            )))
        }
    }
}

fn shown(line: &LineName) -> String {
    match line {
        LineName::Offset(offset) => format!("line {offset}"),
        LineName::Name(name) => format!("the line name {name:?}"),
    }
}

/// Those behind a USB device that fits.
fn on_usb(chips: Vec<Chip>, usb: &UsbMatch) -> Result<Vec<Chip>, OpenError> {
    if usb.is_empty() {
        return Ok(chips);
    }
    let fits = |chip: &Chip| {
        let device = chip.device.as_ref().and_then(|device| device.usb.as_ref());
        device.is_some_and(|device| usb.fits(device))
    };
    let there_are = there_are(&chips);
    let found: Vec<_> = chips.into_iter().filter(fits).collect();
    if found.is_empty() {
        let text = format!("no GPIO chip is behind a USB device with {usb}; {there_are}");
        return Err(OpenError::Absent(text));
    }
    Ok(found)
}

/// Every place that fits.
fn candidates(chips: &[Chip], line: &LineName) -> Vec<Found> {
    let mut found = Vec::new();
    for chip in chips {
        for (offset, name) in (0..).zip(&chip.lines) {
            let fits = match line {
                LineName::Offset(wanted) => *wanted == offset,
                LineName::Name(wanted) => name.as_ref() == Some(wanted),
            };
            if fits {
                let called = name
                    .as_ref()
                    .map(|n| format!(" ({n:?})"))
                    .unwrap_or_default();
                found.push(Found {
                    chip: chip.path.clone(),
                    offset,
                    name: name.clone(),
                    device: chip.device.clone(),
                    place: format!("line {offset}{called} of {}", title(chip)),
                });
            }
        }
    }
    found
}

fn at_path<C: Chips>(path: &str) -> Result<Chip, OpenError> {
    let path = Path::new(path);
    C::describe(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let others = all::<C>().map(|all| there_are(&all.chips));
            let others = others.unwrap_or_else(|error| error.to_string());
            OpenError::Absent(format!("there is no {}; {others}", path.display()))
        }
        _ => cannot_open(path, &error),
    })
}

/// Chips whose label or name is `name`.
fn named<C: Chips>(name: &str) -> Result<Vec<Chip>, OpenError> {
    let all = all::<C>()?;
    let matches = |chip: &&Chip| chip.label == name || chip.name == name;
    let found: Vec<_> = all.chips.iter().filter(matches).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    // It may be one of those that could not be asked.
    if let Some(error) = all.refused {
        return Err(error);
    }
    let labels = all
        .chips
        .iter()
        .flat_map(|chip| [&*chip.label, &*chip.name]);
    let nearest = nearest(name, labels);
    let there_are = there_are(&all.chips);
    let text = format!("no GPIO chip has the label or name {name:?}{nearest}; {there_are}");
    Err(OpenError::Absent(text))
}

struct All {
    chips: Vec<Chip>,
    /// Why one of the others could not be asked.
    refused: Option<OpenError>,
}

impl All {
    fn described(self, what: impl Fn() -> String) -> Result<Vec<Chip>, OpenError> {
        match (self.chips.is_empty(), self.refused) {
            (false, _) => Ok(self.chips),
            (true, Some(refused)) => Err(refused),
            (true, None) => {
                let text = format!("{}: this host has none", what());
                Err(OpenError::Absent(text))
            }
        }
    }
}

fn all<C: Chips>() -> Result<All, OpenError> {
    let paths = C::list().map_err(|error| cannot_open(Path::new("/dev"), &error))?;
    let mut all = All {
        chips: Vec::new(),
        refused: None,
    };
    for path in paths {
        match C::describe(&path) {
            Ok(chip) => all.chips.push(chip),
            // It went away since it was listed.
            Err(error) if gone(&error) => {}
            Err(error) => all.refused = Some(cannot_open(&path, &error)),
        }
    }
    Ok(all)
}

/// Whether an error means that the chip is not there any more.
pub(crate) fn gone(error: &io::Error) -> bool {
    let nodev = rustix::io::Errno::NODEV.raw_os_error();
    let nxio = rustix::io::Errno::NXIO.raw_os_error();
    error.kind() == ErrorKind::NotFound
        || error
            .raw_os_error()
            .is_some_and(|raw| raw == nodev || raw == nxio)
}

fn cannot_open(path: &Path, error: &io::Error) -> OpenError {
    let path = path.display();
    if gone(error) {
        return OpenError::Absent(format!("{path} was removed"));
    }
    let help = match error.kind() {
        ErrorKind::PermissionDenied => {
            "; rigd's udev rules (systemd/60-rigd.rules) give GPIO chips to the group gpio, which the user of the daemon must be in"
        }
        _ => "",
    };
    OpenError::Faulty(format!("cannot open {path}: {error}{help}"))
}

fn no_such_line(chip: &Chip, line: &LineName) -> String {
    let title = title(chip);
    match line {
        LineName::Offset(offset) => {
            let count = chip.lines.len();
            let last = count.saturating_sub(1);
            format!("{title} has no line {offset}: it has {count}, from 0 to {last}")
        }
        LineName::Name(name) => {
            let known = chip.lines.iter().flatten().map(String::as_str);
            let nearest = nearest(name, known);
            let named: Vec<_> = chip
                .lines
                .iter()
                .flatten()
                .map(|n| format!("{n:?}"))
                .collect();
            let known = match named.is_empty() {
                true => "none of its lines has a name".to_owned(),
                false => format!("its lines are {}", list(&named)),
            };
            format!("{title} has no line called {name:?}{nearest}; {known}")
        }
    }
}

fn ambiguous(chips: &[Chip]) -> String {
    let titles: Vec<_> = chips
        .iter()
        .map(|c| format!("{} at {}", title(c), c.path.display()))
        .collect();
    format!(
        "several GPIO chips fit, write a path or a key of `usb` that tells them apart: {}",
        list(&titles)
    )
}

fn title(chip: &Chip) -> String {
    let usb = chip.device.as_ref().and_then(|device| device.usb.as_ref());
    let usb = usb.map_or_else(String::new, |usb| format!(", {usb}"));
    format!("{} ({}{usb})", chip.name, chip.label)
}

fn there_are(chips: &[Chip]) -> String {
    let titles: Vec<_> = chips.iter().map(title).collect();
    match titles.is_empty() {
        true => "this host has no GPIO chip".into(),
        false => format!("there are {}", list(&titles)),
    }
}

fn list(items: &[String]) -> String {
    let mut out = items
        .iter()
        .take(LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = items.len().checked_sub(LISTED).filter(|more| *more > 0) {
        // A String takes everything.
        write!(out, " and {more} more").ok();
    }
    out
}

/// `, did you mean …?`, or nothing.
fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> String {
    let score = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &wanted.to_lowercase());
    let scored = known.map(|name| (score(name), name));
    let best = scored.filter(|(score, _)| *score >= ALIKE);
    let best = best.max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, name)| format!(" (did you mean {name:?}?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! Finds the one device that a configuration names. What is not found, or found twice, is told with
//! what there is.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use rigd_driver::OpenError;

use crate::{
    Class, DeviceMatch, Found, Host,
    ambiguity::tell_apart,
    found::device_number,
    host::{Scan, attribute},
};

/// Looks through sysfs for one question. Something going away during each of them is a host on
/// which devices come and go all the time; the next event asks again.
const LOOKS: usize = 3;
/// More candidates than this are counted, and not listed.
const LISTED: usize = 8;

/// Why there is not exactly one device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// It is not there.
    #[error("{0}")]
    Absent(String),
    /// Several fit; the text lists them and the keys that would tell them apart.
    #[error("{0}")]
    Ambiguous(String),
    /// What is named is there, and of another kind; or sysfs cannot be read.
    #[error("{0}")]
    Unusable(String),
}

impl From<FindError> for OpenError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Absent(text) => Self::Absent(text),
            FindError::Ambiguous(text) | FindError::Unusable(text) => Self::Faulty(text),
        }
    }
}

impl DeviceMatch {
    /// The one device of this host that matches. Blocks for at most some milliseconds.
    ///
    /// # Errors
    /// None or several match, or a path leads to something else.
    pub fn find(&self, class: Class) -> Result<Found, FindError> {
        Host::default().find(self, class)
    }

    /// The paths that it gives, with the keys they are under.
    pub(crate) fn places(
        &self,
        host: &Host,
        class: Class,
    ) -> Result<Vec<(&'static str, PathBuf)>, FindError> {
        let mut places = Vec::new();
        if let Some(path) = &self.path {
            places.push(("path", path.clone()));
        }
        let links = [
            ("byId", "by-id", &self.by_id),
            ("byPath", "by-path", &self.by_path),
        ];
        for (key, folder, link) in links {
            let Some(link) = link else { continue };
            let Some(kind) = class.links() else {
                let (one, _) = class.words();
                let text = format!(
                    "udev makes no {folder} links for a {one}: use `path` or `usb` in place of `{key}`"
                );
                return Err(FindError::Unusable(text));
            };
            places.push((key, host.dev.join(kind).join(folder).join(link)));
        }
        Ok(places)
    }
}

impl Host {
    /// The one device that matches. Blocks for at most some milliseconds.
    ///
    /// # Errors
    /// None or several match, or a path leads to something else.
    pub fn find(&self, wanted: &DeviceMatch, class: Class) -> Result<Found, FindError> {
        let mut outcome = Err(FindError::Absent("it comes and goes".into()));
        for _ in 0..LOOKS {
            let scan = self.scan(class).map_err(|error| {
                let listed = self.sys.join(class.listed());
                FindError::Unusable(format!("cannot read {}: {error}", listed.display()))
            })?;
            outcome = self.pick(wanted, class, &scan);
            if !(scan.vanished && matches!(outcome, Err(FindError::Absent(_)))) {
                break;
            }
        }
        outcome
    }

    fn pick(&self, wanted: &DeviceMatch, class: Class, scan: &Scan) -> Result<Found, FindError> {
        let places = wanted.places(self, class)?;
        let mut files = Vec::new();
        for (_, path) in &places {
            match fs::canonicalize(path) {
                Ok(file) => files.push(file),
                Err(error) => return Err(self.no_such_place(path, &error, class, scan)),
            }
        }
        // A partition is taken only by its path: what names hardware means the disk.
        let whole = |found: &Found| !is_partition(found);
        let here: Vec<_> = match files.is_empty() {
            true => scan.devices.iter().filter(|found| whole(found)).collect(),
            false => {
                let at = |found: &&Found| files.iter().all(|file| is_at(found, file));
                scan.devices.iter().filter(at).collect()
            }
        };
        let fits: Vec<_> = here
            .iter()
            .copied()
            .filter(|found| wanted.usb.fits_found(found))
            .collect();
        match (&fits[..], &files[..]) {
            ([one], _) => Ok((*one).clone()),
            ([], []) => Err(FindError::Absent(nothing(wanted, class, scan))),
            ([], [file, ..]) => match &here[..] {
                [other, ..] => Err(FindError::Absent(format!(
                    "{other} does not match {}",
                    wanted
                ))),
                [] => self.unknown_file(wanted, class, file, &files),
            },
            (several, _) => Err(FindError::Ambiguous(ambiguous(wanted, class, several))),
        }
    }

    fn no_such_place(
        &self,
        path: &Path,
        error: &io::Error,
        class: Class,
        scan: &Scan,
    ) -> FindError {
        let shown = path.display();
        if error.kind() != io::ErrorKind::NotFound {
            return FindError::Unusable(format!("cannot follow {shown}: {error}"));
        }
        let folder = path.parent().filter(|folder| **folder != *self.dev);
        let folder = folder.filter(|folder| !folder.exists());
        let why = folder.map_or_else(String::new, |folder| {
            format!(
                " (nor a {}: udev makes it for the first such device)",
                folder.display()
            )
        });
        let there_are = there_are(class, &scan.devices);
        FindError::Absent(format!("there is no {shown}{why}; {there_are}"))
    }

    /// A file that no device of the class has: a pseudo terminal, or something else.
    fn unknown_file(
        &self,
        wanted: &DeviceMatch,
        class: Class,
        file: &Path,
        files: &[PathBuf],
    ) -> Result<Found, FindError> {
        let (one, _) = class.words();
        let shown = file.display();
        if let Some(other) = files.iter().find(|other| *other != file) {
            let text = format!("{} names both {shown} and {}", wanted, other.display());
            return Err(FindError::Absent(text));
        }
        let number = device_number(file);
        // Every device with a driver is there; pseudo terminals are not.
        let known = number.as_ref().is_some_and(|number| {
            let kinds = ["char", "block"].iter();
            kinds
                .into_iter()
                .any(|kind| self.sys.join("dev").join(kind).join(number).exists())
        });
        if number.is_none() || known || class != Class::Tty {
            return Err(FindError::Unusable(format!("{shown} is no {one}")));
        }
        if !wanted.usb.is_empty() {
            return Err(FindError::Absent(format!(
                "{shown} is not behind a USB device"
            )));
        }
        Ok(Found::of_file(class, file))
    }
}

/// Whether a device has this file, under whatever name.
fn is_at(found: &Found, file: &Path) -> bool {
    if found.node.as_deref() == Some(file) {
        return true;
    }
    let number = device_number(file);
    let own = found
        .sysfs
        .as_deref()
        .and_then(|sysfs| attribute(sysfs, "dev"));
    // A number means nothing without the kind, which the subsystem decides.
    number.is_some() && number == own && is_block(file) == (found.class == Class::Block)
}

fn is_block(file: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(file).is_ok_and(|meta| meta.file_type().is_block_device())
}

fn is_partition(found: &Found) -> bool {
    let sysfs = found.sysfs.as_deref();
    sysfs.is_some_and(|sysfs| sysfs.join("partition").exists())
}

fn nothing(wanted: &DeviceMatch, class: Class, scan: &Scan) -> String {
    let (one, _) = class.words();
    let there_are = there_are(class, &scan.devices);
    let hint = misread(wanted, scan).unwrap_or_default();
    format!("no {one} matches {}; {there_are}{hint}", wanted)
}

/// What to say when the numbers without quotes would fit as hexadecimal ones.
fn misread(wanted: &DeviceMatch, scan: &Scan) -> Option<String> {
    let devices = || scan.devices.iter().filter_map(|found| found.usb.as_ref());
    let vendor = wanted.usb.vendor.and_then(|id| {
        id.unquoted()
            .find(|meant| devices().any(|usb| usb.vendor == *meant))
    });
    let product = wanted.usb.product.and_then(|id| {
        id.unquoted()
            .find(|meant| devices().any(|usb| usb.product == *meant))
    });
    let (key, meant) = vendor
        .map(|meant| ("vendor", meant))
        .or(product.map(|meant| ("product", meant)))?;
    Some(format!(
        "; for {meant} write `{key}: \"{meant}\"`, with the quotes"
    ))
}

/// What there is, USB devices alone where there are some: ports of the mainboard have nothing that
/// one could match.
fn there_are(class: Class, devices: &[Found]) -> String {
    let (_, several) = class.words();
    let whole: Vec<_> = devices
        .iter()
        .filter(|found| !is_partition(found))
        .collect();
    let on_usb: Vec<_> = whole
        .iter()
        .copied()
        .filter(|found| found.usb.is_some())
        .collect();
    match (on_usb.is_empty(), whole.is_empty()) {
        (false, _) => format!("there are {}", list(&on_usb)),
        (true, true) => format!("this host has no {several}"),
        (true, false) => format!("this host has no {several} on USB"),
    }
}

/// The text of [`FindError::Ambiguous`].
pub(crate) fn ambiguous(wanted: &DeviceMatch, class: Class, several: &[&Found]) -> String {
    let (_, words) = class.words();
    let (count, keys) = (several.len(), tell_apart(several));
    format!(
        "{} matches {count} {words}: {}; {keys}",
        wanted,
        list(several)
    )
}

pub(crate) fn list(devices: &[&Found]) -> String {
    let shown: Vec<_> = devices
        .iter()
        .take(LISTED)
        .map(ToString::to_string)
        .collect();
    let mut out = shown.join(", ");
    if let Some(more) = devices.len().checked_sub(LISTED).filter(|more| *more > 0) {
        // A String takes everything.
        write!(out, " and {more} more").ok();
    }
    out
}

#[cfg(test)]
mod tests;

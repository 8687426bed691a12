//! The gadget: found, or made in the order that the kernel wants.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use rigd_driver::OpenError;
use rustix::io::Errno;

use super::kernel::{Kernel, cannot, line};

/// Linux Foundation, Multifunction Composite Gadget (usb.ids).
const VENDOR: &str = "0x1d6b";
const PRODUCT: &str = "0x0104";
/// The kind of function; what follows is a name of one's own.
const FUNCTION: &str = "mass_storage.";

/// What gadget there shall be.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// Of the device, where it is made here.
    pub(super) serial: String,
    /// The only one of the host without it.
    pub(super) udc: Option<String>,
    pub(super) read_only: bool,
}

impl Kernel {
    /// The directory of the card in the gadget that is wanted, which is at its controller then. What
    /// was made on the way to a failure goes again. Blocks for some milliseconds.
    pub(super) fn lun(&self, wanted: &Wanted) -> Result<PathBuf, OpenError> {
        let dir = self.gadgets.join(&wanted.name);
        let bound = controller_of(&dir);
        let controller = match (&bound, &wanted.udc) {
            (Some(bound), Some(udc)) if bound != udc => {
                let name = &wanted.name;
                return Err(OpenError::Faulty(format!(
                    "the gadget {name} is at the USB device controller {bound}, and `udc` names {udc}"
                )));
            }
            (Some(_), _) => None,
            (None, udc) => Some(self.controller(udc.as_deref())?),
        };
        if !self.gadgets.is_dir() {
            return Err(OpenError::Faulty(format!(
                "there is no {}: `modprobe libcomposite`, and configfs has to be mounted",
                self.gadgets.display()
            )));
        }
        let mut made = Made {
            kernel: self,
            paths: Vec::new(),
        };
        let function = match function_of(&dir)? {
            Some(function) if is_linked(&dir, &function) => function,
            // The first time, or somebody was ended in the middle of it.
            found if bound.is_none() => made.complete(&dir, wanted, found)?,
            _ => {
                return Err(OpenError::Faulty(format!(
                    "the gadget {} is in use without a function {FUNCTION}*: write another name as `gadget`",
                    wanted.name
                )));
            }
        };
        if let Some(controller) = controller {
            self.bind(&dir, &controller)?;
        }
        made.paths.clear();
        Ok(function.join("lun.0"))
    }

    /// The controller that the configuration means.
    fn controller(&self, wanted: Option<&str>) -> Result<String, OpenError> {
        let all = names(&self.controllers);
        match (wanted, all.as_slice()) {
            (Some(name), _) if all.iter().any(|one| one == name) => Ok(name.into()),
            (None, [only]) => Ok(only.clone()),
            (_, []) => Err(OpenError::Absent(format!(
                "this host has no USB device controller ({} is empty): its port has to be one, e.g. with \
                 dtoverlay=dwc2,dr_mode=peripheral in config.txt of a Raspberry Pi",
                self.controllers.display()
            ))),
            (Some(name), all) => Err(OpenError::Absent(format!(
                "there is no USB device controller {name}; there is {}",
                all.join(", ")
            ))),
            (None, all) => Err(OpenError::Faulty(format!(
                "this host has several USB device controllers, {}: write one as `udc`",
                all.join(", ")
            ))),
        }
    }

    /// The board sees the gadget from now on.
    fn bind(&self, dir: &Path, controller: &str) -> Result<(), OpenError> {
        let attribute = dir.join("UDC");
        let written = self.configfs.write(&attribute, OsStr::new(controller));
        written.map_err(|error| {
            if error.raw_os_error() != Some(Errno::BUSY.raw_os_error()) {
                return OpenError::Faulty(cannot("write", &attribute, &error));
            }
            let others = names(&self.gadgets).into_iter();
            let holder = others
                .filter(|name| {
                    controller_of(&self.gadgets.join(name)).as_deref() == Some(controller)
                })
                .map(|name| format!("the gadget {name}"))
                .next();
            let holder = holder.unwrap_or_else(|| "a module such as g_ether".into());
            OpenError::Faulty(format!(
                "the USB device controller {controller} is taken: {holder} has it"
            ))
        })
    }
}

/// What was made: it goes again with this.
struct Made<'a> {
    kernel: &'a Kernel,
    paths: Vec<PathBuf>,
}

impl Made<'_> {
    /// Makes what is not there, up to the link that has the function in a configuration.
    fn complete(
        &mut self,
        dir: &Path,
        wanted: &Wanted,
        found: Option<PathBuf>,
    ) -> Result<PathBuf, OpenError> {
        self.dir(dir)?;
        self.write(dir, "idVendor", VENDOR)?;
        self.write(dir, "idProduct", PRODUCT)?;
        let strings = dir.join("strings/0x409");
        self.dir(&strings)?;
        self.write(&strings, "manufacturer", "rigd")?;
        self.write(&strings, "product", "card")?;
        self.write(&strings, "serialnumber", &wanted.serial)?;
        let configuration = dir.join("configs/c.1");
        self.dir(&configuration)?;
        let function =
            found.unwrap_or_else(|| dir.join("functions").join(format!("{FUNCTION}rigd")));
        self.dir(&function)?;
        let lun = function.join("lun.0");
        self.write(&lun, "removable", "1")?;
        self.write(&lun, "cdrom", "0")?;
        self.write(&lun, "ro", if wanted.read_only { "1" } else { "0" })?;
        let link = configuration.join(function.file_name().unwrap_or_default());
        let linked = self.kernel.configfs.link(&function, &link);
        self.note(link, linked)?;
        Ok(function)
    }

    fn dir(&mut self, dir: &Path) -> Result<(), OpenError> {
        match dir.is_dir() {
            true => Ok(()),
            false => self.note(dir.into(), self.kernel.configfs.make_dir(dir)),
        }
    }

    fn note(&mut self, path: PathBuf, made: std::io::Result<()>) -> Result<(), OpenError> {
        made.map_err(|error| OpenError::Faulty(cannot("make", &path, &error)))?;
        self.paths.push(path);
        Ok(())
    }

    fn write(&self, dir: &Path, attribute: &str, value: &str) -> Result<(), OpenError> {
        let attribute = dir.join(attribute);
        let written = self.kernel.configfs.write(&attribute, OsStr::new(value));
        written.map_err(|error| OpenError::Faulty(cannot("write", &attribute, &error)))
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            let removed = match path.is_symlink() {
                true => self.kernel.configfs.remove_link(path),
                false => self.kernel.configfs.remove_dir(path),
            };
            if let Err(error) = removed {
                tracing::warn!("{}", cannot("remove", path, &error));
            }
        }
    }
}

/// The controller that a gadget is at.
fn controller_of(gadget: &Path) -> Option<String> {
    let name = line(&gadget.join("UDC")).ok()?;
    let name = String::from_utf8_lossy(&name).into_owned();
    (!name.is_empty()).then_some(name)
}

/// The one mass storage function of a gadget.
fn function_of(gadget: &Path) -> Result<Option<PathBuf>, OpenError> {
    let functions = gadget.join("functions");
    let mut found = names(&functions);
    found.retain(|name| name.starts_with(FUNCTION));
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(functions.join(only))),
        several => Err(OpenError::Faulty(format!(
            "{} has several functions, {}: a card is one",
            gadget.display(),
            several.join(", ")
        ))),
    }
}

/// Whether a configuration of the gadget has the function.
fn is_linked(gadget: &Path, function: &Path) -> bool {
    let configurations = gadget.join("configs");
    names(&configurations).iter().any(|configuration| {
        let configuration = configurations.join(configuration);
        names(&configuration).iter().any(|name| {
            let target = fs::read_link(configuration.join(name));
            target.is_ok_and(|target| target.file_name() == function.file_name())
        })
    })
}

/// What a directory holds, sorted; nothing where there is none.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

//! configfs in plain directories: what the kernel makes, refuses and changes by itself.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::io::Errno;
use tempfile::TempDir;

use crate::gadget::kernel::{Configfs, Kernel};

/// Of a switch: long enough for a plain file on a loaded machine; one test waits for it.
const LIMIT: Duration = Duration::from_secs(10);

/// How the kernel and the board behave.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// The board has the card open.
    pub(crate) locked: bool,
    /// Before Linux 6.0.
    pub(crate) old: bool,
    /// The board is in the middle of a command.
    pub(crate) hangs: bool,
    /// The card's file is not for writing.
    pub(crate) opens_read_only: bool,
    /// What cannot be written or made, by its last part.
    pub(crate) refuses: Option<(&'static str, Errno)>,
}

#[derive(Debug)]
pub(crate) struct Fake {
    dir: TempDir,
    pub(crate) manner: Mutex<Manner>,
    log: Mutex<Vec<String>>,
}

impl Fake {
    /// A host with these device controllers and libcomposite.
    pub(crate) fn new(controllers: &[&str]) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("usb_gadget")).unwrap();
        for name in controllers {
            fs::create_dir_all(dir.path().join("udc").join(name)).unwrap();
        }
        let (manner, log) = (Mutex::default(), Mutex::default());
        Arc::new(Self { dir, manner, log })
    }

    pub(crate) fn kernel(self: &Arc<Self>) -> Kernel {
        Kernel {
            gadgets: self.gadgets(),
            controllers: self.dir.path().join("udc"),
            configfs: self.clone(),
            limit: LIMIT,
        }
    }

    pub(crate) fn gadgets(&self) -> PathBuf {
        self.dir.path().join("usb_gadget")
    }

    /// A place for the card.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// An attribute below a gadget's card.
    pub(crate) fn lun(&self, gadget: &str) -> PathBuf {
        self.gadgets()
            .join(gadget)
            .join("functions/mass_storage.rigd/lun.0")
    }

    /// What was done since it was asked last.
    pub(crate) fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn note(&self, what: &str, path: &Path) -> io::Result<()> {
        let shown = path.strip_prefix(self.gadgets()).unwrap().display();
        self.log.lock().unwrap().push(format!("{what} {shown}"));
        match self.manner.lock().unwrap().refuses {
            Some((name, errno)) if path.ends_with(name) => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn load(&self, lun: &Path, card: &OsStr) -> io::Result<()> {
        let file = lun.join("file");
        while self.manner.lock().unwrap().hangs {
            thread::sleep(Duration::from_millis(20));
        }
        let mut manner = self.manner.lock().unwrap();
        if manner.locked && !fs::read(&file)?.is_empty() {
            return Err(Errno::BUSY.into());
        }
        if card.is_empty() {
            manner.locked = false;
            if manner.opens_read_only {
                fs::write(lun.join("ro"), "0\n")?;
            }
            return fs::write(file, "");
        }
        let card = fs::canonicalize(card)?;
        if manner.opens_read_only {
            fs::write(lun.join("ro"), "1\n")?;
        }
        fs::write(file, format!("{}\n", card.display()))
    }

    fn bind(&self, gadget: &Path, controller: &OsStr) -> io::Result<()> {
        if !self.dir.path().join("udc").join(controller).exists() {
            return Err(Errno::NODEV.into());
        }
        let others = fs::read_dir(self.gadgets())?.flatten();
        let line = format!("{}\n", controller.display());
        for other in others {
            if fs::read_to_string(other.path().join("UDC"))? == line {
                return Err(Errno::BUSY.into());
            }
        }
        if fs::read_dir(gadget.join("configs/c.1"))?.next().is_none() {
            return Err(Errno::INVAL.into());
        }
        fs::write(gadget.join("UDC"), line)
    }
}

impl Configfs for Fake {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("mkdir", dir)?;
        fs::create_dir(dir)?;
        let fill = |at: &Path, attributes: &[(&str, &str)]| {
            attributes
                .iter()
                .try_for_each(|(name, value)| fs::write(at.join(name), value))
        };
        let within = |name: &str| dir.parent().is_some_and(|parent| parent.ends_with(name));
        match () {
            () if within("functions") => {
                let lun = dir.join("lun.0");
                fs::create_dir(&lun)?;
                fill(
                    &lun,
                    &[
                        ("file", ""),
                        ("ro", "0\n"),
                        ("removable", ""),
                        ("cdrom", ""),
                    ],
                )?;
                match self.manner.lock().unwrap().old {
                    true => Ok(()),
                    false => fill(&lun, &[("forced_eject", "")]),
                }
            }
            () if within("strings") => fill(
                dir,
                &[("serialnumber", ""), ("manufacturer", ""), ("product", "")],
            ),
            () if within("configs") => Ok(()),
            () => {
                for name in ["functions", "configs", "strings"] {
                    fs::create_dir(dir.join(name))?;
                }
                fill(dir, &[("UDC", "\n"), ("idVendor", ""), ("idProduct", "")])
            }
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("rmdir", dir)?;
        let holds_link = |dir: &Path| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| entry.path().is_symlink())
        };
        if holds_link(dir) {
            return Err(Errno::NOTEMPTY.into());
        }
        // Attributes go with their object.
        fs::remove_dir_all(dir)
    }

    fn link(&self, target: &Path, link: &Path) -> io::Result<()> {
        self.note("link", link)?;
        symlink(target, link)
    }

    fn remove_link(&self, link: &Path) -> io::Result<()> {
        self.note("unlink", link)?;
        fs::remove_file(link)
    }

    fn write(&self, attribute: &Path, value: &OsStr) -> io::Result<()> {
        let card = value.to_string_lossy();
        let card = card.rsplit('/').next().unwrap_or_default();
        self.note(&format!("{card} >"), attribute)?;
        fs::metadata(attribute)?;
        let object = attribute.parent().unwrap();
        match attribute.file_name().and_then(OsStr::to_str) {
            Some("file") => self.load(object, value),
            Some("forced_eject") => {
                self.manner.lock().unwrap().locked = false;
                self.load(object, OsStr::new(""))
            }
            Some("ro") if !fs::read(object.join("file"))?.is_empty() => Err(Errno::BUSY.into()),
            Some("UDC") => self.bind(object, value),
            _ => fs::write(attribute, format!("{}\n", value.display())),
        }
    }
}

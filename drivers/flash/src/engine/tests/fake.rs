//! A medium in memory that fails as it is told to.

use std::{
    io,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
};

use super::*;

const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) data: Mutex<Vec<u8>>,
    pub(crate) capacity: u64,
    /// A write that reaches this byte fails.
    pub(crate) bad: Option<u64>,
    /// A read that reaches this byte fails.
    pub(crate) unreadable: Option<u64>,
    /// This byte reads back another than was written.
    pub(crate) flipped: Option<usize>,
    /// Where it does not answer until it is told to.
    pub(crate) hangs: Mutex<Option<Hang>>,
    pub(crate) answers: Condvar,
    /// Milliseconds that a read takes.
    pub(crate) pause: AtomicU64,
    pub(crate) sync_fails: AtomicBool,
    /// A write that reaches this byte finds another card from then on.
    pub(crate) changes: Option<u64>,
    pub(crate) changed: AtomicBool,
    pub(crate) gone: AtomicBool,
    pub(crate) syncs: AtomicU32,
    pub(crate) written: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hang {
    Write,
    Sync,
    /// A read that begins there.
    Read(u64),
}

impl Fake {
    fn hang(&self, at: Hang) {
        let hangs = self.hangs.lock().unwrap();
        drop(self.answers.wait_while(hangs, |hangs| *hangs == Some(at)));
    }

    pub(crate) fn new(capacity: usize, fill: u8) -> Self {
        Self {
            data: Mutex::new(vec![fill; capacity]),
            capacity: capacity as u64,
            ..Self::default()
        }
    }

    pub(crate) fn holds(&self) -> Vec<u8> {
        self.data.lock().unwrap().clone()
    }

    pub(crate) fn taken(&self) -> u64 {
        self.written.swap(0, Relaxed)
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Medium for Fake {
    fn name(&self) -> &str {
        "/dev/fake"
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.capacity)
    }

    fn sector(&self) -> usize {
        SECTOR
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(at.is_multiple_of(SECTOR as u64) && bytes.len().is_multiple_of(SECTOR));
        assert_eq!(
            bytes.as_ptr().align_offset(SECTOR),
            0,
            "direct I/O refuses this"
        );
        self.hang(Hang::Write);
        if self
            .changes
            .is_some_and(|place| place < at + bytes.len() as u64)
        {
            self.changed.store(true, Relaxed);
        }
        if self.gone.load(Relaxed) || self.bad.is_some_and(|bad| bad < at + bytes.len() as u64) {
            return Err(eio());
        }
        self.written.fetch_add(bytes.len() as u64, Relaxed);
        let at = at as usize;
        self.data.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        assert!(at.is_multiple_of(SECTOR as u64) && bytes.len().is_multiple_of(SECTOR));
        self.hang(Hang::Read(at));
        std::thread::sleep(Duration::from_millis(self.pause.load(Relaxed)));
        let end = at + bytes.len() as u64;
        if self.gone.load(Relaxed) || self.unreadable.is_some_and(|bad| bad < end) {
            return Err(eio());
        }
        let at = at as usize;
        bytes.copy_from_slice(&self.data.lock().unwrap()[at..at + bytes.len()]);
        if let Some(flipped) = self.flipped.and_then(|f| f.checked_sub(at))
            && let Some(byte) = bytes.get_mut(flipped)
        {
            *byte ^= 0x10;
        }
        Ok(bytes.len())
    }

    fn sync(&self, _: Option<u64>) -> io::Result<()> {
        self.syncs.fetch_add(1, Relaxed);
        self.hang(Hang::Sync);
        // As the kernel: the first sync tells, the next one is content.
        if self.sync_fails.swap(false, Relaxed) {
            return Err(eio());
        }
        Ok(())
    }

    fn has_changed(&self) -> bool {
        self.changed.load(Relaxed)
    }

    fn check_present(&self) -> Result<(), DriverError> {
        if self.gone.load(Relaxed) || self.has_changed() {
            return Err(DriverError::Unavailable("/dev/fake is gone".into()));
        }
        Ok(())
    }
}

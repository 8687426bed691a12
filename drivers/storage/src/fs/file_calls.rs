//! The calls on open files: `open` and `file_*`.

use std::sync::Arc;

use rigd_driver::{Call, DriverError, ResourceHandle};
use uuid::Uuid;

use super::{
    FileStore, answers,
    files::{FileMode, Loan},
    path::RelPath,
};
use crate::transfer;

impl FileStore {
    pub(super) async fn open_file(
        self: Arc<Self>,
        call: Call,
        path: String,
        mode: FileMode,
    ) -> Result<Uuid, DriverError> {
        let path = RelPath::parse(&path)?;
        let store = self.store.clone();
        let open = move |call: &Call| {
            store.files.room()?;
            match mode {
                // Under the lock as well, so that the end of the lease finds the file.
                FileMode::Read => store.change(call, |_| {
                    let file = store.open_to_read(&path)?;
                    Ok(store.files.add(file, mode, path.shown()))
                }),
                FileMode::Write => store.open_to_write(call, &path, |file| {
                    store.files.add(file, mode, path.shown())
                }),
            }
        };
        self.lane.run(&call, open).await
    }

    pub(super) async fn file_read(
        self: Arc<Self>,
        call: Call,
        fd: Uuid,
        dst: ResourceHandle,
    ) -> Result<(), DriverError> {
        let loan = self.lend(fd, "file_read", Some(FileMode::Read))?;
        let download = call.download(dst).await?;
        // cancel-safe: a transfer under a closed file is given up for good.
        tokio::select! {
            closed = loan.closed() => Err(closed),
            sent = transfer::send(&call, &self.lane, &loan.medium, download) => sent.map(|_| ()),
        }
    }

    pub(super) async fn file_write(
        self: Arc<Self>,
        call: Call,
        fd: Uuid,
        src: ResourceHandle,
    ) -> Result<(), DriverError> {
        let loan = self.lend(fd, "file_write", Some(FileMode::Write))?;
        let mut upload = call.upload(src).await?;
        let store = transfer::store(&call, &self.lane, &mut upload, &loan.medium, None);
        // cancel-safe: a transfer under a closed file is given up for good.
        tokio::select! {
            closed = loan.closed() => Err(closed),
            stored = store => stored.map(|_| ()),
        }
    }

    pub(super) async fn file_seek(
        self: Arc<Self>,
        call: Call,
        fd: Uuid,
        pos: i64,
        whence: Option<i64>,
    ) -> Result<u64, DriverError> {
        let loan = self.lend(fd, "file_seek", None)?;
        if self.store.files.get(fd)?.mode == FileMode::Write {
            return Err(DriverError::Unknown(
                "Seek operation is not supported by the backing service.".into(),
            ));
        }
        let to = answers::seek_from(pos, whence.unwrap_or(0))?;
        self.lane
            .run(&call, move |_| answers::seek(&loan, to))
            .await
    }

    pub(super) async fn file_tell(
        self: Arc<Self>,
        call: Call,
        fd: Uuid,
    ) -> Result<u64, DriverError> {
        let loan = self.lend(fd, "file_tell", Some(FileMode::Read))?;
        let here = std::io::SeekFrom::Current(0);
        self.lane
            .run(&call, move |_| answers::seek(&loan, here))
            .await
    }

    pub(super) async fn file_close(self: Arc<Self>, _: Call, fd: Uuid) -> Result<(), DriverError> {
        let mode = self.store.files.get(fd)?.mode;
        match self.store.files.close(fd)? {
            Some(medium) if mode == FileMode::Write => transfer::sync(medium).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn file_closed(
        self: Arc<Self>,
        _: Call,
        fd: Uuid,
    ) -> Result<bool, DriverError> {
        Ok(self.store.files.get(fd)?.is_closed())
    }

    /// Serves `file_seekable`, too: what can be read can be sought.
    pub(super) async fn file_readable(
        self: Arc<Self>,
        _: Call,
        fd: Uuid,
    ) -> Result<bool, DriverError> {
        let file = self.store.files.get(fd)?;
        Ok(!file.is_closed() && file.mode == FileMode::Read)
    }

    pub(super) async fn file_writable(
        self: Arc<Self>,
        _: Call,
        fd: Uuid,
    ) -> Result<bool, DriverError> {
        let file = self.store.files.get(fd)?;
        Ok(!file.is_closed() && file.mode == FileMode::Write)
    }

    fn lend(
        &self,
        fd: Uuid,
        method: &'static str,
        mode: Option<FileMode>,
    ) -> Result<Loan, DriverError> {
        self.store.files.get(fd)?.lend(method, mode)
    }
}

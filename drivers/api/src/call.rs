//! What a driver is told about the call it serves.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    Arrival, DECODER_MEMORY, Download, DriverError, Key, ResourceHandle, TransferProgress, Upload,
    instance::Shared, interlock::Permit, queue::Turn, resource::Resources,
};

#[derive(Debug)]
struct Inner {
    method: String,
    arrival: Arrival,
    key: Key,
    cancel: CancellationToken,
    resources: Option<ResourcesRef>,
    shared: Arc<Shared>,
    // Given back before the turn: who comes next finds no rule that only this call stood behind.
    _permit: Option<Arc<Permit>>,
    // Held by every clone: the turn ends when the last piece of the call's work is done.
    _turn: Option<Turn>,
}

struct ResourcesRef(Arc<dyn Resources>);

impl std::fmt::Debug for ResourcesRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resources")
    }
}

/// One call in progress. Cheap to clone; the exclusive turn lasts until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Call(Arc<Inner>);

impl Call {
    pub(crate) fn new(
        (method, arrival): (&str, Arrival),
        key: Key,
        resources: Option<Arc<dyn Resources>>,
        shared: Arc<Shared>,
        (turn, permit): (Option<Turn>, Option<Arc<Permit>>),
        cancel: CancellationToken,
    ) -> Self {
        let inner = Inner {
            method: method.into(),
            arrival,
            key,
            cancel,
            resources: resources.map(ResourcesRef),
            shared,
            _permit: permit,
            _turn: turn,
        };
        Self(Arc::new(inner))
    }

    /// The method as the client named it.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// When it came, before it waited for its turn.
    pub fn arrival(&self) -> Arrival {
        self.0.arrival
    }

    /// The key the work is done under.
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// `Ok` while the key is live and the caller is there. Long work asks between its steps and
    /// stops where the hardware allows.
    pub fn check(&self) -> Result<(), DriverError> {
        // Looked at first: who revokes a key cancels what runs under it afterwards, and the key is the
        // cause then.
        let left = self.0.cancel.is_cancelled();
        self.0.key.check()?;
        match left {
            true => Err(self.caller_left()),
            false => Ok(()),
        }
    }

    fn caller_left(&self) -> DriverError {
        DriverError::Cancelled(format!("{}: the caller went away", self.0.method))
    }

    /// Resolves when [`check`](Self::check) would fail. Cancel-safe.
    pub async fn cancelled(&self) -> DriverError {
        // cancel-safe: both arms only wait. The key first: a call whose key is revoked is dropped, and
        // "the caller went away" would be what followed from it.
        tokio::select! {
            biased;
            fenced = self.0.key.revoked() => fenced.into(),
            () = self.0.cancel.cancelled() => {
                self.check().err().unwrap_or_else(|| self.caller_left())
            }
        }
    }

    /// Runs blocking work on the instance's own thread. The key is checked there, when the work is
    /// taken from the queue. A job that runs is never interrupted; it asks [`check`](Self::check).
    pub async fn blocking<T, F>(&self, job: F) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T, DriverError> + Send + 'static,
    {
        self.0.shared.device.run(self.clone(), job).await
    }

    /// Takes the device for one step of a streaming call or a wait, which hold it only an item at
    /// a time. Drop the result to give it back. Cancel-safe.
    pub async fn exclusive(&self) -> Result<impl Sized + use<>, DriverError> {
        let turn = self
            .0
            .shared
            .queue
            .acquire(&self.0.method, false, self.0.cancel.clone())
            .await?;
        self.check()?;
        Ok(turn)
    }

    /// Opens a client's file, or what a presigned URL names, for reading.
    pub async fn upload(&self, handle: ResourceHandle) -> Result<Upload, DriverError> {
        self.upload_within(handle, DECODER_MEMORY).await
    }

    /// As [`upload`](Self::upload), with a bound of its own for the memory of a decoder, in bytes.
    pub async fn upload_within(
        &self,
        handle: ResourceHandle,
        memory: u64,
    ) -> Result<Upload, DriverError> {
        let resources = self.resources()?;
        resources.upload(self.0.shared.uuid, handle, memory).await
    }

    /// A small file beside what `handle` names: see [`Resources::beside`].
    pub async fn beside(
        &self,
        handle: &ResourceHandle,
        endings: &[(usize, &str)],
    ) -> Option<Bytes> {
        self.resources().ok()?.beside(handle, endings).await
    }

    /// Opens a client's file, or what a presigned URL names, for writing.
    pub async fn download(&self, handle: ResourceHandle) -> Result<Download, DriverError> {
        self.resources()?.download(self.0.shared.uuid, handle).await
    }

    /// Tells whoever waits for a transfer how far it is, at most some times a second.
    pub fn tell_progress(&self, progress: TransferProgress) {
        if let Some(ResourcesRef(resources)) = &self.0.resources {
            resources.progress(progress);
        }
    }

    fn resources(&self) -> Result<&dyn Resources, DriverError> {
        let resources = self.0.resources.as_ref().map(|r| &*r.0);
        resources.ok_or_else(|| {
            DriverError::FailedPrecondition("no client: this call cannot carry resources".into())
        })
    }
}

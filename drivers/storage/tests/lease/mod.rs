//! A lease on one instance, with a client that feeds uploads and drains downloads.

#![allow(
    dead_code,
    reason = "each test binary uses its part of the client's abilities"
)]

pub(crate) mod store;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use rigd_driver::{
    Blueprint, ChunkSender, Download, DownloadSource, Driver, DriverError, Health, Instance,
    KeyKind, KeyOwner, ResourceHandle, Resources, Upload, Value, contract, download_channel,
    upload_channel,
};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// How long anything may take before a test counts as hung.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The resources that the client has opened.
#[derive(Default)]
struct Opened {
    uploads: Mutex<HashMap<Uuid, Upload>>,
    downloads: Mutex<HashMap<Uuid, Download>>,
}

fn id(handle: &ResourceHandle) -> Uuid {
    match handle {
        ResourceHandle::ClientStream { uuid, .. } => *uuid,
        other => panic!("not a client stream: {other:?}"),
    }
}

fn handle(uuid: Uuid) -> Value {
    json!({"kind": "client_stream", "uuid": uuid, "x_jmp_content_encoding": null})
}

#[async_trait]
impl Resources for Opened {
    async fn upload(&self, _: Uuid, handle: ResourceHandle, _: u64) -> Result<Upload, DriverError> {
        let uuid = id(&handle);
        let found = self.uploads.lock().unwrap().remove(&uuid);
        found.ok_or_else(|| DriverError::Unknown(format!("UUID('{uuid}')")))
    }

    async fn download(&self, _: Uuid, handle: ResourceHandle) -> Result<Download, DriverError> {
        let uuid = id(&handle);
        let found = self.downloads.lock().unwrap().remove(&uuid);
        found.ok_or_else(|| DriverError::Unknown(format!("UUID('{uuid}')")))
    }
}

pub(crate) struct Lease {
    pub(crate) instance: Arc<Instance>,
    owner: Mutex<KeyOwner>,
    opened: Arc<Opened>,
    _state: Option<TempDir>,
}

impl Lease {
    /// A fresh instance under a lease.
    pub(crate) async fn start<D: Driver>(config: D::Config) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut lease = Self::start_in::<D>(config, state.path()).await;
        lease._state = Some(state);
        lease
    }

    /// The same over a state directory of the caller.
    pub(crate) async fn start_in<D: Driver>(config: D::Config, state: &Path) -> Self {
        D::check(&config).unwrap();
        let instance = contract::instance(Blueprint::new::<D>(config), state, None);
        instance.start().await;
        assert_eq!(instance.health(), Health::Ready);
        instance.lease_start().await;
        Self {
            instance,
            owner: Mutex::new(KeyOwner::issue(KeyKind::Client)),
            opened: Arc::default(),
            _state: None,
        }
    }

    /// Ends the lease and begins another one.
    pub(crate) async fn next(&self) {
        self.owner.lock().unwrap().revoke("the lease ended");
        self.instance.lease_end().await;
        *self.owner.lock().unwrap() = KeyOwner::issue(KeyKind::Client);
        self.instance.lease_start().await;
    }

    pub(crate) async fn call(&self, method: &str, args: Value) -> Result<Value, DriverError> {
        let Value::Array(args) = args else {
            panic!("arguments are an array: {args}");
        };
        let key = self.owner.lock().unwrap().key();
        let call = self
            .instance
            .call(&key, Some(self.opened.clone()), method, args);
        let done = tokio::time::timeout(LIMIT, call).await;
        done.unwrap_or_else(|_| panic!("{method} hangs"))
    }

    pub(crate) async fn ok(&self, method: &str, args: Value) -> Value {
        let done = self.call(method, args.clone()).await;
        done.unwrap_or_else(|error| panic!("{method} {args}: {error}"))
    }

    pub(crate) async fn fails(&self, method: &str, args: Value) -> DriverError {
        match self.call(method, args.clone()).await {
            Ok(value) => panic!("{method} {args} must fail and gave {value}"),
            Err(error) => error,
        }
    }

    /// All items of a streaming call, sorted.
    pub(crate) async fn names(&self, method: &str, path: &str) -> Vec<String> {
        let key = self.owner.lock().unwrap().key();
        let items = self
            .instance
            .streaming_call(&key, None, method, vec![json!(path)]);
        let items: Vec<_> = items.unwrap().collect().await;
        let mut names: Vec<String> = items
            .into_iter()
            .map(|item| item.unwrap().as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The first error of a streaming call.
    pub(crate) async fn names_fail(&self, method: &str, path: &str) -> DriverError {
        let key = self.owner.lock().unwrap().key();
        let items = self
            .instance
            .streaming_call(&key, None, method, vec![json!(path)]);
        let items: Vec<_> = items.unwrap().collect().await;
        items.into_iter().find_map(Result::err).unwrap()
    }

    pub(crate) fn upload(&self) -> (ChunkSender, Value) {
        let uuid = Uuid::new_v4();
        let (sender, upload) = upload_channel();
        self.opened.uploads.lock().unwrap().insert(uuid, upload);
        (sender, handle(uuid))
    }

    pub(crate) fn download(&self) -> (DownloadSource, Value) {
        let uuid = Uuid::new_v4();
        let (download, source) = download_channel();
        self.opened.downloads.lock().unwrap().insert(uuid, download);
        (source, handle(uuid))
    }

    /// Calls `method` with the arguments, where `"HANDLE"` stands for an upload of `data`.
    pub(crate) async fn send(
        &self,
        method: &str,
        args: Value,
        data: &[u8],
    ) -> Result<Value, DriverError> {
        let (sender, handle) = self.upload();
        let data = Bytes::copy_from_slice(data);
        tokio::spawn(async move {
            for at in (0..data.len()).step_by(65_536) {
                let end = data.len().min(at + 65_536);
                if !sender.send(data.slice(at..end)).await {
                    return;
                }
            }
            sender.end().await;
        });
        self.call(method, with_handle(args, handle)).await
    }

    /// Calls `method` with the arguments, where `"HANDLE"` stands for a download; gives its bytes.
    pub(crate) async fn receive(&self, method: &str, args: Value) -> Result<Vec<u8>, DriverError> {
        let (source, handle) = self.download();
        let drained = tokio::spawn(drain(source));
        self.call(method, with_handle(args, handle)).await?;
        Ok(drained.await.unwrap().expect("the download has an end"))
    }
}

/// Replaces `"HANDLE"` among arguments.
pub(crate) fn with_handle(mut args: Value, handle: Value) -> Value {
    for arg in args.as_array_mut().unwrap() {
        if arg == "HANDLE" {
            *arg = handle.clone();
        }
    }
    args
}

/// All bytes of a download; `None` when the driver gave up.
pub(crate) async fn drain(mut source: DownloadSource) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = source.chunks.recv().await {
        let chunk = chunk.ok()?;
        assert!(chunk.len() <= 65_536, "a frame of {} bytes", chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    source.done.await.ok()?;
    source.outcome.send(Ok(())).ok();
    Some(bytes)
}

/// Bytes that do not repeat at any power of two.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

//! A virtual board with its parts as instances, and a client of them, for the tests.

#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests only"
)]

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures::StreamExt;
use rigd_driver::{
    Blueprint, ByteStream, ChunkSender, Download, DownloadSource, DriverError, Health, Instance,
    InstanceConfig, Key, KeyKind, KeyOwner, ResourceHandle, Resources, Upload, Value, async_trait,
    download_channel, upload_channel,
};
use rigd_drivers_virtual::Board;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{sync::Mutex, time::timeout};
use uuid::Uuid;

/// Longest wait for anything that must happen; far beyond what a loaded machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) board: Arc<Instance>,
    pub(crate) parts: BTreeMap<String, Arc<Instance>>,
    owner: KeyOwner,
}

/// Small card, quick boot, and what a test wants beside.
pub(crate) fn config(more: Value) -> Value {
    let mut config = json!({"card": {"size": "4MiB"}, "boot_delay": "5ms"});
    if let (Some(all), Value::Object(more)) = (config.as_object_mut(), more) {
        all.extend(more);
    }
    config
}

impl Rig {
    /// A board with its state below `dir`.
    pub(crate) async fn start(dir: &Path, more: Value) -> Self {
        let config = serde_json::from_value(config(more)).unwrap();
        let blueprint = Blueprint::new::<Board>(config);
        blueprint.check().unwrap();
        let children = blueprint.children();
        let board = open("dutlink", blueprint, None, dir).await;
        let mut parts = BTreeMap::new();
        for child in children {
            let path = format!("dutlink.{}", child.name);
            let part = open(&path, child.blueprint, Some(board.clone()), dir).await;
            parts.insert(child.name, part);
        }
        let owner = KeyOwner::issue(KeyKind::Client);
        let rig = Self {
            board,
            parts,
            owner,
        };
        rig.lease_start().await;
        rig
    }

    pub(crate) fn key(&self) -> Key {
        self.owner.key()
    }

    async fn lease_start(&self) {
        self.board.lease_start().await;
        for part in self.parts.values() {
            part.lease_start().await;
        }
    }

    /// Ends the lease and begins another.
    pub(crate) async fn next_lease(&mut self) {
        let old = std::mem::replace(&mut self.owner, KeyOwner::issue(KeyKind::Client));
        old.revoke("lease ended");
        for part in self.parts.values() {
            part.lease_end().await;
        }
        self.board.lease_end().await;
        self.lease_start().await;
    }

    /// Ends the daemon's part in an orderly way.
    pub(crate) async fn stop(self) {
        for part in self.parts.values() {
            part.close().await;
        }
        self.board.close().await;
    }

    pub(crate) async fn try_call(
        &self,
        part: &str,
        method: &str,
        args: Vec<Value>,
    ) -> Result<Value, DriverError> {
        let instance = self.parts.get(part).unwrap_or(&self.board);
        let key = self.key();
        let work = instance.call(&key, None, method, args);
        timeout(LIMIT, work).await.expect(method)
    }

    pub(crate) async fn call(&self, part: &str, method: &str) {
        let result = self.try_call(part, method, vec![]).await;
        assert_eq!(result.unwrap(), Value::Null);
    }

    pub(crate) async fn inject(&self, name: &str, value: Value) {
        let result = self.try_call("", "inject", vec![json!(name), value]).await;
        result.unwrap();
    }

    /// A `write` under way, and the sender to feed it with.
    pub(crate) fn begin_write(
        &self,
    ) -> (
        ChunkSender,
        impl Future<Output = Result<Value, DriverError>> + use<>,
    ) {
        let (sender, upload) = upload_channel();
        let resources = Arc::new(One {
            upload: Mutex::new(Some(upload)),
            download: Mutex::new(None),
        });
        let (storage, key) = (self.parts["storage"].clone(), self.key());
        let work = async move {
            let args = vec![handle()];
            storage.call(&key, Some(resources), "write", args).await
        };
        (sender, work)
    }

    pub(crate) async fn write(&self, image: &[u8]) -> Result<Value, DriverError> {
        let (sender, work) = self.begin_write();
        let image = bytes::Bytes::copy_from_slice(image);
        let feed = async move {
            for start in (0..image.len()).step_by(65_536) {
                let end = image.len().min(start + 65_536);
                if !sender.send(image.slice(start..end)).await {
                    return;
                }
            }
            sender.end().await;
        };
        let (result, ()) = timeout(LIMIT, async { tokio::join!(work, feed) })
            .await
            .expect("write ends");
        result
    }

    /// The whole card.
    pub(crate) async fn read(&self) -> Result<Vec<u8>, DriverError> {
        let (download, source) = download_channel();
        let resources = Arc::new(One {
            upload: Mutex::new(None),
            download: Mutex::new(Some(download)),
        });
        let key = self.key();
        let args = vec![handle()];
        let work = self.parts["storage"].call(&key, Some(resources), "read", args);
        let drain = async move {
            let DownloadSource {
                mut chunks,
                done,
                outcome,
            } = source;
            let mut all = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                all.extend(chunk.unwrap());
            }
            if done.await.is_ok() {
                outcome.send(Ok(())).ok();
            }
            all
        };
        let (result, all) = timeout(LIMIT, async { tokio::join!(work, drain) })
            .await
            .expect("read ends");
        result.map(|_| all)
    }

    pub(crate) async fn console(&self) -> Console {
        self.try_console().await.unwrap()
    }

    pub(crate) async fn try_console(&self) -> Result<Console, DriverError> {
        let stream = self.parts["console"].stream(&self.key(), "connect").await?;
        Ok(Console {
            stream,
            seen: String::new(),
        })
    }

    /// Writes an image, boots it, and waits for the login prompt.
    pub(crate) async fn boot(&self, image: &[u8]) -> Console {
        let mut console = self.console().await;
        self.write(image).await.unwrap();
        self.call("storage", "dut").await;
        self.call("power", "on").await;
        console.expect("rpi4 login: ").await;
        console
    }

    pub(crate) async fn health(&self, part: &str, wanted: impl Fn(&Health) -> bool) {
        let part = &self.parts[part];
        let wait = async {
            while !wanted(&part.health()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, wait).await.expect("health changes");
    }
}

async fn open(
    path: &str,
    blueprint: Blueprint,
    parent: Option<Arc<Instance>>,
    dir: &Path,
) -> Arc<Instance> {
    let instance = Instance::new(InstanceConfig {
        exporter: "rpi4".into(),
        path: path.into(),
        uuid: Uuid::new_v4(),
        state_dir: dir.join(path),
        blueprint,
        parent,
        children: BTreeMap::new(),
        descriptor: None,
    });
    instance.start().await;
    instance
}

fn handle() -> Value {
    serde_json::to_value(ResourceHandle::ClientStream {
        uuid: Uuid::nil(),
        x_jmp_content_encoding: None,
    })
    .unwrap()
}

/// The resources of one call.
struct One {
    upload: Mutex<Option<Upload>>,
    download: Mutex<Option<Download>>,
}

#[async_trait]
impl Resources for One {
    async fn upload(&self, _: Uuid, _: ResourceHandle, _: u64) -> Result<Upload, DriverError> {
        let none = || DriverError::Unknown("no upload".into());
        self.upload.lock().await.take().ok_or_else(none)
    }

    async fn download(&self, _: Uuid, _: ResourceHandle) -> Result<Download, DriverError> {
        let none = || DriverError::Unknown("no download".into());
        self.download.lock().await.take().ok_or_else(none)
    }
}

pub(crate) struct Console {
    pub(crate) stream: ByteStream,
    seen: String,
}

impl Console {
    pub(crate) async fn send(&mut self, text: &str) {
        let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
        self.stream.writer.send(bytes).await.unwrap();
    }

    /// Reads until `text` and returns what came before it.
    pub(crate) async fn expect(&mut self, text: &str) -> String {
        let mut searched = 0;
        let wait = async {
            loop {
                let at = self.seen[searched..].find(text);
                if let Some(at) = at.map(|at| searched + at) {
                    let rest = self.seen.split_off(at + text.len());
                    return std::mem::replace(&mut self.seen, rest);
                }
                searched = self.seen.len().saturating_sub(text.len());
                match self.stream.reader.next().await {
                    Some(Ok(bytes)) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                    end => panic!("{text:?} never came, but {end:?} after {:?}", self.seen),
                }
            }
        };
        let done = timeout(LIMIT, wait).await;
        done.unwrap_or_else(|_| panic!("{text:?} did not come in time, only {:?}", self.seen))
    }

    pub(crate) async fn login(&mut self) {
        self.send("root\n").await;
        self.expect("root@rpi4:~# ").await;
    }

    /// What came and was not expected yet.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.seen)
    }

    /// The output of a command.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.send(&format!("{command}\n")).await;
        self.expect(&format!("{command}\r\n")).await;
        let output = self.expect("root@rpi4:~# ").await;
        output.trim_end_matches("root@rpi4:~# ").to_owned()
    }

    /// The item that ends the stream, after whatever was left to read.
    pub(crate) async fn end(&mut self) -> Option<DriverError> {
        let wait = async {
            loop {
                match self.stream.reader.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Some(error),
                    None => return None,
                }
            }
        };
        timeout(LIMIT, wait).await.expect("the stream ends")
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image without regularities.
pub(crate) fn image(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    };
    std::iter::repeat_with(&mut next)
        .flatten()
        .take(len)
        .collect()
}

//! `storage.fs`: files below one directory, with upstream's `Opendal` interface and scheme `fs`.
//!
//! Calls run beside each other: each is cut into steps on the instance's thread, and none holds
//! the thread while it waits for its client. A file is used by one operation at a time.

mod answers;
mod content;
mod error;
mod file_calls;
mod files;
mod listing;
mod path;
mod root;
mod store;
mod tree;

#[cfg(test)]
mod race_tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::Stream;
use rigd_driver::{
    Call, ConfigError, Driver, DriverError, HealthHandle, Interface, Mode, OpenCx, OpenError, Value,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    content::HashAlgo,
    listing::Depth,
    path::RelPath,
    store::{Created, Store},
};
use crate::lane::{Lane, on_own_thread};

/// How long the clean-up at the end of a lease may take, within the 10 s of the whole lease step.
const FORGET_LIMIT: Duration = Duration::from_secs(9);

/// Files below one directory of the lab host, with upstream's `Opendal` interface.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileStoreConfig {
    /// The kind of storage; `fs` is the one there is.
    pub scheme: String,
    /// Settings of the scheme. For `fs`: `root`, the directory below which everything is; it is
    /// made when it is missing.
    pub kwargs: BTreeMap<String, String>,
    /// Whether what a lease made is removed at its end.
    #[serde(default)]
    pub remove_created_on_close: bool,
}

/// Files below one directory.
#[derive(Debug)]
pub struct FileStore {
    store: Arc<Store>,
    lane: Lane,
    health: HealthHandle,
}

impl Driver for FileStore {
    const TYPE: &'static str = "storage.fs";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.OpendalClient";
    const CATEGORY: &'static str = "storage";
    type Config = FileStoreConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("open", Mode::Shared, Self::open_file)
            .call("file_read", Mode::Shared, Self::file_read)
            .call("file_write", Mode::Shared, Self::file_write)
            .call("file_seek", Mode::Shared, Self::file_seek)
            .call("file_tell", Mode::Shared, Self::file_tell)
            .call("file_close", Mode::Shared, Self::file_close)
            .call("file_closed", Mode::Shared, Self::file_closed)
            .call("file_readable", Mode::Shared, Self::file_readable)
            .call("file_seekable", Mode::Shared, Self::file_readable)
            .call("file_writable", Mode::Shared, Self::file_writable)
            .call("stat", Mode::Shared, Self::stat)
            .call("hash", Mode::Shared, Self::hash)
            .call("copy", Mode::Shared, Self::copy)
            .call("rename", Mode::Shared, Self::rename)
            .call("remove_all", Mode::Shared, Self::remove_all)
            .call("create_dir", Mode::Shared, Self::create_dir)
            .call("delete", Mode::Shared, Self::delete)
            .call("exists", Mode::Shared, Self::exists)
            .call("presign_stat", Mode::Shared, Self::presign)
            .call("presign_read", Mode::Shared, Self::presign)
            .call("presign_write", Mode::Shared, Self::presign)
            .call("capability", Mode::Shared, Self::capability)
            .call("get_created_resources", Mode::Shared, Self::created)
            .call("register_path", Mode::Shared, Self::register_path)
            .streaming("list", Self::list)
            .streaming("scan", Self::scan)
    }

    fn check(config: &FileStoreConfig) -> Result<(), ConfigError> {
        if config.scheme != "fs" {
            let text = format!(
                "scheme {:?} is not supported, only \"fs\" is",
                config.scheme
            );
            return Err(ConfigError::new("scheme", text));
        }
        if config.kwargs.get("root").is_none_or(String::is_empty) {
            let text = "root is not specified; it is the directory to serve";
            return Err(ConfigError::new("kwargs.root", text));
        }
        if let Some(key) = config.kwargs.keys().find(|key| *key != "root") {
            let text = format!("scheme \"fs\" has no setting {key:?}, only \"root\"");
            return Err(ConfigError::new(format!("kwargs.{key}"), text));
        }
        Ok(())
    }

    async fn open(config: &FileStoreConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let root = PathBuf::from(config.kwargs.get("root").cloned().unwrap_or_default());
        let remove_created = config.remove_created_on_close;
        let store = cx
            .blocking(move || Store::open(root, remove_created))
            .await?;
        Ok(Self {
            store: Arc::new(store),
            lane: Lane::new(),
            health: cx.health().clone(),
        })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        let store = self.store.clone();
        let look = move || Ok(store.root.exists().unwrap_or(true));
        if !on_own_thread("look at the storage root", FORGET_LIMIT, look).await? {
            self.health.lost("the storage root was removed");
        }
        Ok(())
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        let store = self.store.clone();
        let forget = move || {
            store.forget();
            Ok(())
        };
        on_own_thread("clean up after the lease", FORGET_LIMIT, forget).await
    }
}

impl FileStore {
    /// A step that changes nothing.
    async fn look<T: Send + 'static>(
        &self,
        call: &Call,
        step: impl FnOnce(&Store) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let store = self.store.clone();
        self.lane.run(call, move |_| step(&store)).await
    }

    /// A step that changes the tree.
    async fn change<T: Send + 'static>(
        &self,
        call: &Call,
        step: impl FnOnce(&Store, &mut Created, tree::Check<'_>) -> Result<T, DriverError>
        + Send
        + 'static,
    ) -> Result<T, DriverError> {
        let store = self.store.clone();
        let step = move |call: &Call| {
            store.change(call, |created| step(&store, created, &|| call.check()))
        };
        self.lane.run(call, step).await
    }

    async fn stat(self: Arc<Self>, call: Call, path: String) -> Result<Value, DriverError> {
        let path = RelPath::parse(&path)?;
        self.look(&call, move |store| answers::stat(store, &path))
            .await
    }

    async fn exists(self: Arc<Self>, call: Call, path: String) -> Result<bool, DriverError> {
        let path = RelPath::parse(&path)?;
        self.look(&call, move |store| answers::exists(store, &path))
            .await
    }

    async fn hash(
        self: Arc<Self>,
        call: Call,
        path: String,
        algo: Option<HashAlgo>,
    ) -> Result<String, DriverError> {
        let path = RelPath::parse(&path)?;
        let algo = algo.unwrap_or_default();
        content::hash(&self.store, &self.lane, &call, path, algo).await
    }

    async fn copy(
        self: Arc<Self>,
        call: Call,
        source: String,
        target: String,
    ) -> Result<(), DriverError> {
        let (from, to) = (RelPath::parse(&source)?, RelPath::parse(&target)?);
        content::copy(&self.store, &self.lane, &call, from, to).await
    }

    async fn rename(
        self: Arc<Self>,
        call: Call,
        source: String,
        target: String,
    ) -> Result<(), DriverError> {
        let (from, to) = (RelPath::parse(&source)?, RelPath::parse(&target)?);
        let rename = move |store: &Store, created: &mut Created, _: tree::Check<'_>| {
            created.room()?;
            tree::rename(&store.root, &from, &to)?;
            created.discard(&from);
            created.add(&to);
            Ok(())
        };
        self.change(&call, rename).await
    }

    async fn remove_all(self: Arc<Self>, call: Call, path: String) -> Result<(), DriverError> {
        let path = RelPath::parse(&path)?;
        let remove = move |store: &Store, created: &mut Created, check: tree::Check<'_>| {
            tree::remove_all(&store.root, &path, check)?;
            created.discard(&path);
            Ok(())
        };
        self.change(&call, remove).await
    }

    async fn create_dir(self: Arc<Self>, call: Call, path: String) -> Result<(), DriverError> {
        let path = RelPath::parse(&path)?;
        let create = move |store: &Store, created: &mut Created, _: tree::Check<'_>| {
            created.room()?;
            tree::create_dir(&store.root, &path)?;
            created.add(&path);
            Ok(())
        };
        self.change(&call, create).await
    }

    async fn delete(self: Arc<Self>, call: Call, path: String) -> Result<(), DriverError> {
        let path = RelPath::parse(&path)?;
        let delete = move |store: &Store, created: &mut Created, _: tree::Check<'_>| {
            tree::delete(&store.root, &path)?;
            created.discard(&path);
            Ok(())
        };
        self.change(&call, delete).await
    }

    fn list(
        self: Arc<Self>,
        call: Call,
        path: String,
    ) -> impl Stream<Item = Result<String, DriverError>> + Send + use<> {
        listing::paths(
            self.store.clone(),
            self.lane.clone(),
            call,
            &path,
            Depth::One,
        )
    }

    fn scan(
        self: Arc<Self>,
        call: Call,
        path: String,
    ) -> impl Stream<Item = Result<String, DriverError>> + Send + use<> {
        listing::paths(
            self.store.clone(),
            self.lane.clone(),
            call,
            &path,
            Depth::All,
        )
    }

    async fn presign(
        self: Arc<Self>,
        _: Call,
        path: String,
        _expire_second: i64,
    ) -> Result<Value, DriverError> {
        let path = RelPath::parse(&path)?;
        let why = "operation is not supported";
        Err(error::refused("Unsupported", "presign", why, &path))
    }

    async fn capability(self: Arc<Self>, _: Call) -> Result<Value, DriverError> {
        Ok(answers::capability())
    }

    async fn created(self: Arc<Self>, call: Call) -> Result<Vec<String>, DriverError> {
        self.look(&call, |store| Ok(store.created())).await
    }

    async fn register_path(self: Arc<Self>, call: Call, path: String) -> Result<(), DriverError> {
        let path = RelPath::parse(&path)?;
        let register = move |_: &Store, created: &mut Created, _: tree::Check<'_>| {
            created.room()?;
            created.add(&path);
            Ok(())
        };
        self.change(&call, register).await
    }
}

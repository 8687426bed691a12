//! Images that people on the lab host write to cards, past the lease.
//!
//! ```text
//!   rigd flash ──bytes──> Upload ──handle──> `write` of the instance ──> card
//!        ^ ──── progress ──── Image (the resources of the call) <── progress ──┘
//! ```
//!
//! The driver sees what it sees of a client: a handle in place of the bytes, good for one use. So
//! turns, interlocks and the mark of an incomplete card are those of every other write.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rigd_driver::{
    Download, DriverError, Instance, Key, MethodKind, ResourceHandle, Resources, TransferProgress,
    Upload, async_trait,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tonic::Status;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    Runner,
    choose::{Kind, choose},
};
use crate::{
    daemon::handle::{Flash, FlashNews},
    session::status_of,
};

/// What can be flashed.
const CARD: Kind = Kind {
    one: "card",
    many: "cards",
};
/// The method that writes an image.
const WRITE: &str = "write";
/// Between two news of the progress.
const NEWS: Duration = Duration::from_millis(200);

impl Runner {
    /// Writes an image; it goes on by itself.
    pub(super) fn flash(&self, flash: Flash) {
        let found = self.find_card(&flash);
        let key = self.people.key();
        let work = async move {
            let news = flash.news.clone();
            let failed = match found {
                Ok(instance) => tokio::select! {
                    // cancel-safe: a write that is dropped stops, and leaves the card incomplete.
                    done = write(instance, key, flash) => done.err(),
                    () = news.closed() => None,
                },
                Err(status) => Some(status),
            };
            if let Some(status) = failed {
                // Whoever has gone needs no reason.
                news.send(Err(status)).await.ok();
            }
        };
        self.tasks.spawn(work.in_current_span());
    }

    fn find_card(&self, flash: &Flash) -> Result<Arc<Instance>, Status> {
        let instance = choose(&self.served.tree, &flash.path, CARD, can_be_flashed)?;
        match self.lease() {
            Some(lease) if !flash.force => Err(Status::failed_precondition(format!(
                "leased to '{}' (lease {}); --force flashes all the same",
                lease.client, lease.name
            ))),
            _ => Ok(instance.clone()),
        }
    }
}

fn can_be_flashed(instance: &Instance) -> bool {
    let methods = instance.blueprint().methods();
    methods.contains(&(WRITE, MethodKind::Call))
}

async fn write(instance: Arc<Instance>, key: Key, flash: Flash) -> Result<(), Status> {
    let Flash {
        image,
        upload,
        options,
        news,
        ..
    } = flash;
    let path = instance.path();
    tracing::info!(instance = path, image, "Flashed from the lab host.");
    let gone = || Status::cancelled("nobody waits for the write");
    let opened = FlashNews::Opened(path.to_owned());
    news.send(Ok(opened)).await.map_err(|_| gone())?;

    let (progress_tx, progress) = watch::channel(None);
    let (handle, image) = Image::new(upload, progress_tx);
    let args = [Some(json!(handle)), options];
    let args: Vec<Value> = args.into_iter().flatten().collect();
    // cancel-safe: when the call is over its progress is of no use.
    let result = tokio::select! {
        result = instance.call(&key, Some(Arc::new(image)), WRITE, args) => result,
        never = relay(progress, &news) => match never {},
    };
    let result = result.map_err(|error| status_of(&error))?;
    let done = FlashNews::Done(result);
    news.send(Ok(done)).await.map_err(|_| gone())
}

/// Tells the progress as it changes, the first of it at once.
async fn relay(
    mut progress: watch::Receiver<Option<TransferProgress>>,
    news: &mpsc::Sender<Result<FlashNews, Status>>,
) -> Infallible {
    while progress.changed().await.is_ok() {
        if let Some(now) = *progress.borrow_and_update() {
            // What a slow reader misses is old when it looks again.
            news.try_send(Ok(FlashNews::Progress(now))).ok();
        }
        sleep(NEWS).await;
    }
    pending().await
}

/// The image of one write, as the resources of its call.
struct Image {
    id: Uuid,
    upload: Mutex<Option<Upload>>,
    progress: watch::Sender<Option<TransferProgress>>,
}

impl Image {
    /// An image, and the handle that stands for it in the arguments.
    fn new(
        upload: Upload,
        progress: watch::Sender<Option<TransferProgress>>,
    ) -> (ResourceHandle, Self) {
        let id = Uuid::new_v4();
        let handle = ResourceHandle::ClientStream {
            uuid: id,
            x_jmp_content_encoding: None,
        };
        let image = Self {
            id,
            upload: Mutex::new(Some(upload)),
            progress,
        };
        (handle, image)
    }
}

#[async_trait]
impl Resources for Image {
    async fn upload(&self, _: Uuid, handle: ResourceHandle, _: u64) -> Result<Upload, DriverError> {
        let mut held = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = match handle {
            ResourceHandle::ClientStream { uuid, .. } if uuid == self.id => held.take(),
            _ => None,
        };
        upload.ok_or_else(|| DriverError::InvalidArgument("this is not the image's handle".into()))
    }

    async fn download(&self, _: Uuid, _: ResourceHandle) -> Result<Download, DriverError> {
        Err(DriverError::InvalidArgument(
            "an image is read, and nothing is written to it".into(),
        ))
    }

    fn progress(&self, progress: TransferProgress) {
        self.progress.send_replace(Some(progress));
    }
}

//! The engine as a driver holds it: one for each card.
//!
//! ```text
//!   Flasher::write ──> image known ──> medium opened by the driver ──> marked ──> written,
//!                                                    synced, read back ──> mark removed
//!   any failure after the mark ──> the mark says why, and `check_complete` refuses with it
//! ```

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rigd_driver::{Call, Download, DriverError, OpenError, ResourceHandle};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{
    blocks::{Blocks, Known},
    digest::Digests,
    engine::{self, Job},
    image::Image,
    layout::{Gaps, Layout},
    mark::Mark,
    medium::{Medium, Witness},
    read::{self, Taker},
    settings::{Delta, FlashSettings, Holes, Report, WriteOptions},
};

/// How long a transfer waits for one before it that winds up.
const WIND_UP: Duration = Duration::from_secs(30);
/// How long what was written may take to reach the card: what upstream grants.
const SYNC_LIMIT: Duration = Duration::from_secs(900);

/// Where an image comes from.
#[derive(Debug)]
pub enum ImageFrom {
    /// A client, or the URL that it gave.
    Client(ResourceHandle),
    /// A file of this host below one of the configured `imageRoots`.
    Host(PathBuf),
}

/// Writes images to one card, and knows whether it is complete.
///
/// Clones are the same card.
#[derive(Debug, Clone)]
pub struct Flasher {
    settings: Arc<FlashSettings>,
    sync_limit: Duration,
    state: Arc<State>,
    /// Held while a transfer is under way, also by one whose caller is gone.
    transfer: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    mark: Mark,
    known: Mutex<Option<Known>>,
    digests: Digests,
}

impl State {
    fn swap(&self, known: Option<Known>) -> Option<Known> {
        let mut held = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, known)
    }
}

impl Flasher {
    /// The engine of the card whose mark is the file `incomplete` in `state_dir`, which is made with the
    /// first write. Blocks for reading it.
    ///
    /// # Errors
    /// Faulty where the mark cannot be read.
    pub fn open(settings: FlashSettings, state_dir: &Path) -> Result<Self, OpenError> {
        Self::with_mark(settings, state_dir.join("incomplete"))
    }

    /// As [`open`](Self::open), with another place for the mark.
    ///
    /// # Errors
    /// Faulty where the mark cannot be read.
    pub fn with_mark(settings: FlashSettings, mark: PathBuf) -> Result<Self, OpenError> {
        let mark = Mark::open(mark)?;
        Ok(Self {
            settings: Arc::new(settings),
            sync_limit: SYNC_LIMIT,
            state: Arc::new(State {
                mark,
                known: Mutex::default(),
                digests: Digests::default(),
            }),
            transfer: Arc::new(Semaphore::new(1)),
        })
    }

    /// With another bound for the time that a sync may take.
    #[must_use]
    pub fn with_sync_limit(self, sync_limit: Duration) -> Self {
        Self { sync_limit, ..self }
    }

    /// Whether the card may be given to the board.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with the first cause, unless `force` is set.
    pub fn check_complete(&self) -> Result<(), DriverError> {
        match self.state.mark.cause() {
            Some(cause) if self.settings.force => {
                tracing::warn!("The board gets an incomplete card: {cause}.");
                Ok(())
            }
            Some(cause) => Err(DriverError::FailedPrecondition(format!(
                "card incomplete: {cause}"
            ))),
            None => Ok(()),
        }
    }

    /// The card left the host, or somebody else may have written to it: nothing that was written
    /// before counts as known any more. For drivers of muxes, before they switch.
    pub fn left_host(&self) {
        self.state.swap(None);
    }

    /// Writes an image. `medium` opens the card, exclusively; it runs after the image is
    /// known to begin well, and what it opened is closed before this returns unless the driver keeps
    /// a clone. Not cancel-safe: a write that is dropped stops with its next buffer, and the card is
    /// incomplete.
    ///
    /// # Errors
    /// What is wrong with the image, the card, or the client; the card is then incomplete, unless the
    /// write was refused before it began.
    pub async fn write(
        &self,
        call: &Call,
        image: ImageFrom,
        options: &WriteOptions,
        medium: impl Future<Output = Result<Arc<dyn Medium>, DriverError>>,
    ) -> Result<Report, DriverError> {
        let settings = self.settings.with(options);
        let bmap = options.bmap.as_deref();
        let image = match image {
            ImageFrom::Client(handle) => Image::receive(call, handle, &settings, bmap).await?,
            ImageFrom::Host(path) => Image::open(call, &path, &settings, bmap).await?,
        };
        self.write_image(call, image, settings, medium).await
    }

    async fn write_image(
        &self,
        call: &Call,
        image: Image,
        settings: FlashSettings,
        medium: impl Future<Output = Result<Arc<dyn Medium>, DriverError>>,
    ) -> Result<Report, DriverError> {
        let turn = self.turn().await?;
        let medium = medium.await?;
        let gaps = match settings.holes {
            Holes::Write => Gaps::Fill,
            Holes::Skip => Gaps::Leave,
        };
        let capacity = medium.capacity();
        let layout = Layout::new(image.form, image.size, image.bmap, gaps, capacity)?;
        let (state, caller) = (self.state.clone(), call.clone());
        let sync_limit = self.sync_limit;
        on_thread(turn, call.clone(), move || {
            let before = medium.witness();
            let job = Job {
                source: image.source,
                layout,
                medium: medium.clone(),
                caller: Box::new(move |news| {
                    if let Some(progress) = news {
                        caller.tell_progress(progress);
                    }
                    caller.check()
                }),
                gaps,
                delta: settings.delta,
                verify: settings.verify,
                stall_limit: settings.stall_limit.0,
                sync_limit,
                blocks: state.proven(before.as_ref()),
                digests: state.digests.clone(),
            };
            state.run(job, medium, before)
        })
        .await
    }

    /// Sends the whole card to `handle`. `medium` opens it, exclusively. Not cancel-safe: a read that
    /// is dropped stops, and the client has a part.
    ///
    /// # Errors
    /// The card cannot be read or hangs (DEADLINE_EXCEEDED), or the client went away.
    pub async fn read(
        &self,
        call: &Call,
        handle: ResourceHandle,
        medium: impl Future<Output = Result<Arc<dyn Medium>, DriverError>>,
    ) -> Result<(), DriverError> {
        let download = call.download(handle).await?;
        let turn = self.turn().await?;
        let medium = medium.await?;
        let stall_limit = self.settings.stall_limit.0;
        let mut client = Client {
            call: call.clone(),
            runtime: Handle::current(),
            download,
        };
        let download = on_thread(turn, call.clone(), move || {
            read::send(medium, stall_limit, &mut client)?;
            Ok(client.download)
        })
        .await?;
        download.finish().await
    }

    /// Waits until no transfer is under way: they end by themselves once their keys are revoked. For
    /// [`lease_end`](rigd_driver::Driver::lease_end) and [`close`](rigd_driver::Driver::close), which
    /// bound it. Cancel-safe.
    pub async fn idle(&self) {
        // The semaphore is never closed.
        self.transfer.acquire().await.ok();
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, DriverError> {
        let turn = timeout(WIND_UP, self.transfer.clone().acquire_owned()).await;
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(DriverError::Exhausted(format!(
                "the card is busy: the transfer before does not end within {} s",
                WIND_UP.as_secs()
            ))),
        }
    }
}

impl State {
    /// What the card is known to hold, if nobody wrote since.
    fn proven(&self, now: Option<&Witness>) -> Blocks {
        // Whatever happens from here on, what is known is said anew afterwards.
        let known = self.swap(None);
        match known {
            Some(known) if Some(&known.witness) == now => known.blocks,
            _ => Blocks::default(),
        }
    }

    /// Everything from the mark to its end.
    fn run(
        &self,
        job: Job,
        medium: Arc<dyn Medium>,
        before: Option<Witness>,
    ) -> Result<Report, DriverError> {
        if job.delta != Delta::None {
            let known = job.blocks.known().count();
            tracing::debug!(known, "Blocks that the card has for certain.");
        }
        self.mark.begin()?;
        let outcome = engine::run(job);
        if let (Some(before), Some(written)) = (before, outcome.written) {
            let own = Witness {
                sectors: before.sectors + written / 512,
                ..before
            };
            let after = medium.witness();
            self.swap(
                after
                    .filter(|after| after.proves(&own))
                    .map(|witness| Known {
                        witness,
                        blocks: outcome.blocks,
                    }),
            );
        }
        drop(medium);
        let cleared = outcome
            .result
            .and_then(|report| self.mark.clear().map(|()| report));
        cleared.inspect_err(|error| {
            tracing::warn!("The card is incomplete: {error}.");
            self.mark.note(&error.to_string());
        })
    }
}

/// Who gets what the card holds.
struct Client {
    call: Call,
    runtime: Handle,
    download: Download,
}

impl Taker for Client {
    fn look(&mut self) -> Result<(), DriverError> {
        self.call.check()
    }

    fn frame(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        let sent = self.download.write(bytes);
        self.runtime.block_on(async {
            // cancel-safe: both arms only wait; a read that is cancelled is over.
            tokio::select! {
                biased;
                sent = sent => sent,
                error = self.call.cancelled() => Err(error),
            }
        })
    }
}

/// Runs a transfer on a thread of its own; the turns of the card and of the call last as long as it.
async fn on_thread<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    call: Call,
    job: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let (tx, rx) = oneshot::channel();
    let span = tracing::Span::current();
    let work = move || {
        let outcome = span.in_scope(job);
        // Before anybody hears of the end: a following call finds the card free.
        drop((turn, call));
        // A caller that went away has nobody to tell.
        tx.send(outcome).ok();
    };
    std::thread::Builder::new()
        .name("rigd:flash".into())
        .spawn(work)
        .map_err(|e| DriverError::Exhausted(format!("cannot start a thread to flash: {e}")))?;
    rx.await.unwrap_or_else(|_| {
        Err(DriverError::Unknown(
            "the transfer failed unexpectedly; the daemon's log has the place".into(),
        ))
    })
}

//! The process: its exporters, each on a thread of its own, and what concerns all of them.
//!
//! ```text
//!   load files ─> embedded controller, for those without another ─> all sockets bound ─> READY
//!     └─> serve ─┬─ signals: stop, cut, reload
//!                ├─ an exporter ended: replaced, kept as ended
//!                ├─ control socket
//!                └─ watchdog
//!   none left ─> the controller ends ─> exit with the worst code
//! ```

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    cli::Failure,
    config::ExporterConfig,
    control,
    embedded::{self, Lab},
    exporter::Directories,
    lease::{hook, safe_state},
    os::{
        limits,
        notify::Notify,
        paths,
        signals::{Signals, Wish},
    },
    telemetry::ClientLogs,
    transport::Shutdown,
    tree::Plan,
};
pub(crate) use access::Access;
use endings::Restart;
use handle::{Ask, Exporters, Reload, Reloaded, Served};
use hosted::{Ended, Hosted, Planned, Starting, Stop, Surroundings};

mod access;
mod endings;
pub(crate) mod handle;
mod hosted;
mod own;
mod paste;
mod pulse;
mod reload;
mod sockets;

pub(crate) use paste::quote;
pub(crate) use sockets::Flags;

/// Reloads that wait for one under way.
const RELOADS: usize = 4;
/// What a stop may take beyond the hooks: safeState, the clients, the controller.
const STOP_MARGIN: Duration = Duration::from_secs(60);

/// Reads the files, every time anew.
pub(crate) type Load = Box<dyn Fn() -> Result<Vec<(ExporterConfig, Plan)>, Failure>>;

/// What a daemon is started with.
pub(crate) struct Setup {
    /// The exporters.
    pub(crate) load: Load,
    /// How one of them is served directly.
    pub(crate) flags: Flags,
    /// Where they keep their things.
    pub(crate) directories: Directories,
    /// Where log lines go to clients.
    pub(crate) clients: Arc<ClientLogs>,
    /// The embedded controller.
    pub(crate) controller: Controller,
}

/// The embedded controller of a daemon.
#[derive(Debug)]
pub(crate) struct Controller {
    /// How it is served.
    pub(crate) options: embedded::Options,
    /// It runs although no exporter needs it, and the daemon with it.
    pub(crate) always: bool,
}

/// Serves the exporters until a signal, or until all of them have ended.
pub(crate) fn run(setup: Setup) -> Result<(), Failure> {
    limits::raise_open_files();
    let loaded = (setup.load)()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Runtime(error.into()))?;
    runtime.block_on(async {
        let signals = Signals::listen().map_err(|error| Failure::Runtime(error.into()))?;
        let (ended_tx, ended) = mpsc::unbounded_channel();
        let (reload_tx, reloads) = mpsc::channel(RELOADS);
        let mut daemon = Daemon {
            load: setup.load,
            flags: setup.flags,
            around: Surroundings {
                directories: setup.directories,
                clients: setup.clients,
                ended: ended_tx,
            },
            exporters: Exporters::default(),
            hosted: BTreeMap::new(),
            then: BTreeMap::new(),
            crashes: BTreeMap::new(),
            restarts: Vec::new(),
            next_id: 0,
            stop: Stop::default(),
            hurried: false,
            notify: Arc::new(Notify::from_env()),
            controller: setup.controller,
            running: None,
            own: own::Own::default(),
            lab: watch::Sender::new(None),
        };
        daemon.start(loaded).await?;
        let control = daemon.open_control(Reload(reload_tx)).await;
        daemon.serve(signals, ended, reloads).await;
        // Last of all: the exporters have signed off.
        daemon.stop_controller().await;
        if let Some((shutdown, serving)) = control {
            shutdown.begin.cancel();
            // Bounded by its grace and its cut.
            serving.await.ok();
        }
        match daemon.code() {
            0 => Ok(()),
            code => Err(Failure::Ended(code)),
        }
    })
}

/// What follows when an exporter ends.
#[derive(Debug)]
enum Then {
    /// Another configuration of the same name.
    Replace(Box<Planned>),
    /// Nothing: it is no longer configured.
    Forget,
}

struct Daemon {
    load: Load,
    flags: Flags,
    around: Surroundings,
    exporters: Exporters,
    hosted: BTreeMap<String, Hosted>,
    then: BTreeMap<String, Then>,
    /// Deaths of a thread in a row.
    crashes: BTreeMap<String, u32>,
    /// Exporters whose thread died, until they are tried again.
    restarts: Vec<Restart>,
    next_id: u64,
    stop: Stop,
    /// Nothing was waited for at the end.
    hurried: bool,
    notify: Arc<Notify>,
    controller: Controller,
    running: Option<embedded::Running>,
    own: own::Own,
    /// What others may know of it.
    lab: watch::Sender<Option<Lab>>,
}

impl Daemon {
    /// Starts all of them: no hardware is opened before every socket is bound.
    async fn start(&mut self, loaded: Vec<(ExporterConfig, Plan)>) -> Result<(), Failure> {
        if self.flags.direct() && loaded.len() != 1 {
            let text = "--unix and --tls-grpc-listener serve one exporter; several were given";
            return Err(Failure::usage(text));
        }
        let planned = self.plan_all(loaded).await?;
        let mut starting = Vec::new();
        for planned in planned {
            let host = self.host(planned);
            starting.push(host.map_err(|error| Failure::Runtime(error.into()))?);
        }
        let mut bound = Vec::new();
        for starting in starting {
            bound.push(starting.bound().await?);
        }
        for go in bound {
            // A thread that is gone already has said so.
            go.send(()).ok();
        }
        self.notify.ready();
        Ok(())
    }

    fn plan(&self, config: Arc<ExporterConfig>, plan: Plan) -> Result<Planned, Failure> {
        let access = Access::of(&self.flags, &config, self.lab.borrow().as_ref())?;
        Ok(Planned {
            config,
            plan,
            access,
        })
    }

    fn host(&mut self, planned: Planned) -> std::io::Result<Starting> {
        let name = planned.config.metadata.name.clone();
        self.next_id += 1;
        let (hosted, starting) =
            hosted::host(planned, self.next_id, self.stop.child(), &self.around)?;
        self.exporters
            .set(&name, Served::Running(hosted.handle.clone()));
        if let (true, Some(lab)) = (hosted.own, self.lab.borrow().clone()) {
            let (command, handle) = (hosted.command.clone(), hosted.handle.clone());
            tokio::spawn(embedded::announce(lab, name.clone(), command, handle));
        }
        self.hosted.insert(name, hosted);
        Ok(starting)
    }

    /// The exit code: a failure that a restart may mend comes before one that it will not.
    fn code(&self) -> u8 {
        let ended = self.exporters.all().into_iter();
        let codes = ended.filter_map(|(_, served)| match served {
            Served::Ended(code) => Some(code),
            Served::Running(_) => None,
        });
        let failed = |code: &u8| *code != 0;
        let worst = codes.filter(failed).min().unwrap_or(0);
        if self.hurried { 1 } else { worst }
    }

    /// Starts one while others are served; what is wrong with it is told in the log.
    fn start_one(&mut self, planned: Planned) {
        let name = planned.config.metadata.name.clone();
        match self.host(planned) {
            Ok(starting) => drop(tokio::spawn(async move {
                match starting.bound().await {
                    Ok(go) => drop(go.send(())),
                    Err(failure) => {
                        let error = failure.text();
                        tracing::error!(exporter = name, error, "Cannot be served.");
                    }
                }
            })),
            Err(error) => {
                tracing::error!(exporter = name, %error, "No thread for it.");
                self.exporters.set(&name, Served::Ended(1));
            }
        }
    }

    async fn open_control(&self, reload: Reload) -> Option<(Shutdown, JoinHandle<()>)> {
        let dir = &self.around.directories.runtime;
        let listener = match paths::make_private(dir) {
            Ok(()) => control::bind(&dir.join(control::SOCKET), Some(control::GROUP))
                .await
                .map_err(|error| format!("{:#}", anyhow::Error::from(error))),
            Err(error) => Err(format!("{}: {error}", dir.display())),
        };
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(
                    error,
                    "No control socket: `rigd status` and its like do not work."
                );
                return None;
            }
        };
        let shutdown = Shutdown::default();
        let (exporters, lab) = (self.exporters.clone(), self.lab.subscribe());
        let serving = control::serve(listener, exporters, lab, reload, shutdown.clone());
        let serving = async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "The control socket failed.");
            }
        };
        Some((shutdown, tokio::spawn(serving)))
    }

    /// Until none is left.
    async fn serve(
        &mut self,
        mut signals: Signals,
        mut ended: mpsc::UnboundedReceiver<Ended>,
        mut reloads: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    ) {
        let mut pulse = interval(pulse::period(self.notify.watchdog()));
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.goes_on() {
            // cancel-safe: the arms only take what is there.
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Reload => {
                        match self.reload().await {
                            Ok(changes) if changes.is_empty() => {
                                tracing::info!("Reloaded: nothing has changed.");
                            }
                            Ok(changes) => tracing::info!(?changes, "Reloaded."),
                            Err(error) => {
                                tracing::error!("Nothing is changed, since the files are not good:\n{error}");
                            }
                        }
                    }
                    Wish::Stop(signal) => {
                        if self.stop(signal) {
                            return;
                        }
                    }
                },
                Some(reply) = reloads.recv() => {
                    let done = self.reload().await;
                    // Whoever asked may have gone.
                    reply.send(done).ok();
                }
                Some(end) = ended.recv() => self.ended(end).await,
                reason = own::failed(&mut self.running) => self.controller_failed(&reason),
                config = endings::next_restart(&mut self.restarts) => self.restart(&config),
                _ = pulse.tick() => {
                    pulse::beat(&self.exporters, &self.notify);
                    self.forget_at_controller().await;
                }
            }
        }
    }

    fn goes_on(&self) -> bool {
        let exporters = !self.hosted.is_empty() || !self.restarts.is_empty();
        exporters || self.controller.always && !self.stop.begin.is_cancelled()
    }

    /// A signal to stop. The third one is not discussed.
    fn stop(&mut self, signal: &'static str) -> bool {
        if self.stop.cut.is_cancelled() {
            self.hurried = true;
            return true;
        }
        if self.stop.begin.is_cancelled() {
            tracing::warn!(signal, "Stopping at once: hooks and clients are cut.");
            self.stop.cut.cancel();
            return false;
        }
        tracing::info!(signal, "Stopping.");
        self.begin_stop();
        false
    }

    fn begin_stop(&mut self) {
        self.notify.stopping();
        let times = self
            .hosted
            .values()
            .map(|hosted| time_to_stop(&hosted.config));
        self.notify
            .extend(times.max().unwrap_or_default() + STOP_MARGIN);
        self.restarts.clear();
        self.stop.begin.cancel();
    }
}

/// What hook and safeState of a lease's end may take.
fn time_to_stop(config: &ExporterConfig) -> Duration {
    let after = config.hooks.after_lease.as_ref();
    let hook = after.map_or(Duration::ZERO, |after| hook::time_limit(&after.value));
    let steps = config
        .safe_state
        .as_ref()
        .map_or(0, |steps| steps.value.len());
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    hook.saturating_add(safe_state::STEP.saturating_mul(steps))
}

//! Exporters to ask: some answer, one never does; and the service over them behind a socket.

use std::{path::PathBuf, time::Duration};

use rigd_driver::Health;
use rigd_proto::{
    control::v1::{self as control, CallRequest, RunHookRequest, run_hook_response::News},
    v1::ExporterStatus,
    value,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tonic::Status;

use crate::{
    control::{
        bind,
        client::{Client, connect},
        serve,
    },
    daemon::handle::{
        Ask, ExporterHandle, Exporters, HookNews, InstanceSnapshot, LinkSnapshot, Reload, Reloaded,
        Served, Snapshot,
    },
    embedded,
    lease::machine::{Hook, Lease},
    transport::Shutdown,
};

/// Who has an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Ann,
    /// It is served without a controller.
    Everybody,
}

/// Plays the owner task of an exporter.
async fn exporter(mut queue: mpsc::Receiver<Ask>, holder: Holder) {
    let mut hold = None;
    let leased = holder == Holder::Ann;
    while let Some(ask) = queue.recv().await {
        match ask {
            Ask::Snapshot(reply) => drop(reply.send(snapshot(holder, hold.clone()))),
            Ask::Hold(Some(reason), reply) if reason.is_empty() => {
                reply.send(Err(Status::invalid_argument("no reason"))).ok();
            }
            Ask::Hold(reason, reply) => {
                hold = reason;
                reply.send(Ok(())).ok();
            }
            Ask::Call(call) if leased && !call.force => {
                let status = Status::failed_precondition("leased by ann");
                call.reply.send(Err(status)).await.ok();
            }
            Ask::Call(call) if call.method == "die" => return,
            Ask::Call(call) => {
                let about = json!({"path": call.path, "method": call.method});
                for item in [vec![about], call.args].concat() {
                    call.reply.send(Ok(item)).await.ok();
                }
            }
            // These need a tree of instances: `tests/console.rs` and `tests/flash_command.rs`.
            Ask::Retire { .. } | Ask::Console(_) | Ask::Flash(_) => {}
            Ask::RunHook(_, news) if leased => {
                let status = Status::failed_precondition("leased by ann");
                news.send(HookNews::Refused(status)).await.ok();
            }
            Ask::RunHook(hook, news) => {
                let line = HookNews::Line(format!("{hook:?}"));
                news.send(line).await.ok();
                let ended = match hook {
                    Hook::Before => Ok(()),
                    Hook::After => Err("Hook failed with exit code 3".into()),
                };
                news.send(HookNews::Ended(ended)).await.ok();
            }
        }
    }
}

fn snapshot(holder: Holder, hold: Option<String>) -> Snapshot {
    Snapshot {
        status: match holder {
            Holder::Nobody => ExporterStatus::Available,
            Holder::Ann | Holder::Everybody => ExporterStatus::LeaseReady,
        },
        message: "Ready for commands".into(),
        lease: (holder == Holder::Ann).then(|| Lease {
            name: "lease-7".into(),
            client: "ann".into(),
        }),
        link: (holder != Holder::Everybody).then(|| LinkSnapshot {
            endpoint: "grpc.lab:8082".into(),
            connected: true,
            detail: "listening".into(),
            tunnels: 1,
        }),
        hold,
        retiring: true,
        sockets: vec!["/run/rigd/good.sock".into()],
        instances: vec![InstanceSnapshot {
            path: "dutlink.console".into(),
            type_name: "serial".into(),
            health: Health::Absent("unplugged".into()),
            busy: Some(("write".into(), Duration::from_millis(1500))),
        }],
    }
}

/// No embedded controller runs.
pub(super) fn no_lab() -> watch::Receiver<Option<embedded::Lab>> {
    watch::Sender::new(None).subscribe()
}

/// Exporters: `good` is free, `taken` leased, `alone` without a controller, `hung` never answers,
/// `over` has ended.
pub(super) fn lab() -> (Exporters, mpsc::Receiver<Ask>) {
    let exporters = Exporters::default();
    for (name, holder) in [
        ("good", Holder::Nobody),
        ("taken", Holder::Ann),
        ("alone", Holder::Everybody),
    ] {
        let (handle, queue) = ExporterHandle::new();
        exporters.set(name, Served::Running(handle));
        tokio::spawn(exporter(queue, holder));
    }
    let (hung, asks) = ExporterHandle::new();
    exporters.set("hung", Served::Running(hung));
    exporters.set("over", Served::Ended(3));
    (exporters, asks)
}

/// A way to ask for reloads, and who is asked.
pub(super) fn reload() -> (Reload, mpsc::Receiver<oneshot::Sender<Reloaded>>) {
    let (asks, queue) = mpsc::channel(1);
    (Reload(asks), queue)
}

/// The lab behind a socket; it ends with this.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) dir: TempDir,
    pub(super) client: Client,
    pub(super) shutdown: Shutdown,
    pub(super) server: JoinHandle<Result<(), tonic::transport::Error>>,
    pub(super) reloads: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    _hung: mpsc::Receiver<Ask>,
}

impl Lab {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = bind(&path, Some("no-such-group-here")).await.unwrap();
        let (exporters, hung) = lab();
        let (reload, reloads) = reload();
        let shutdown = Shutdown::default();
        let serving = serve(listener, exporters, no_lab(), reload, shutdown.clone());
        let server = tokio::spawn(serving);
        let client = connect(&[path]).await.unwrap();
        Self {
            dir,
            client,
            shutdown,
            server,
            reloads,
            _hung: hung,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// All results of a call.
    pub(super) async fn call(
        &mut self,
        exporter: &str,
        args: &[Value],
        force: bool,
    ) -> Result<Vec<Value>, Status> {
        self.call_method(exporter, "set", args, force).await
    }

    pub(super) async fn call_method(
        &mut self,
        exporter: &str,
        method: &str,
        args: &[Value],
        force: bool,
    ) -> Result<Vec<Value>, Status> {
        let request = CallRequest {
            exporter: exporter.into(),
            path: "dutlink.power".into(),
            method: method.into(),
            args: args.iter().cloned().map(value::from_json).collect(),
            force,
        };
        let mut stream = self.client.call(request).await?.into_inner();
        let mut results = Vec::new();
        while let Some(item) = stream.message().await? {
            results.push(value::to_json(item.result.unwrap()).unwrap());
        }
        Ok(results)
    }

    /// What a hook printed, and why it failed.
    pub(super) async fn hook(
        &mut self,
        exporter: &str,
        hook: control::Hook,
    ) -> Result<(Vec<String>, String), Status> {
        let request = RunHookRequest {
            exporter: exporter.into(),
            hook: hook.into(),
        };
        let mut stream = self.client.run_hook(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(response) = stream.message().await? {
            match response.news.unwrap() {
                News::Line(line) => lines.push(line),
                News::Verdict(verdict) => return Ok((lines, verdict.failure)),
            }
        }
        panic!("no verdict after {lines:?}");
    }
}

//! Owns the translation of what exporters say into messages.

use std::time::Duration;

use bytes::Bytes;
use rigd_controller::presence;
use rigd_driver::Health;
use rigd_proto::{
    control::v1::{
        self as control, Busy, ConsoleOutput, ConsoleResponse, Exporter, Instance, Link,
        console_response::News,
    },
    v1::ExporterStatus,
};
use tokio::sync::mpsc;
use tonic::Status;

use crate::{
    daemon::handle::{ConsoleNews, InstanceSnapshot, LinkSnapshot, OpenConsole, Snapshot},
    embedded::Lab,
    lease::machine::{Hook, Lease},
};

/// One that runs and answered, or not.
pub(super) fn running(name: String, answer: Result<Snapshot, Status>) -> Exporter {
    let snapshot = match answer {
        Ok(snapshot) => snapshot,
        Err(status) => {
            return Exporter {
                name,
                state: "not answering".into(),
                message: status.message().into(),
                ..Exporter::default()
            };
        }
    };
    Exporter {
        name,
        state: state(snapshot.status, snapshot.link.as_ref()).into(),
        message: snapshot.message,
        lease: snapshot
            .lease
            .map(|Lease { name, client }| control::Lease { name, client }),
        link: snapshot.link.map(link),
        hold: snapshot.hold.unwrap_or_default(),
        retiring: snapshot.retiring,
        sockets: snapshot.sockets,
        instances: snapshot.instances.into_iter().map(instance).collect(),
        exit_code: None,
    }
}

/// One that has ended.
pub(super) fn ended(name: String, code: u8) -> Exporter {
    Exporter {
        name,
        state: "ended".into(),
        exit_code: Some(code.into()),
        ..Exporter::default()
    }
}

fn state(status: ExporterStatus, link: Option<&LinkSnapshot>) -> &'static str {
    match status {
        ExporterStatus::Unspecified => "unknown",
        ExporterStatus::Offline => "offline",
        ExporterStatus::Available => "available",
        ExporterStatus::BeforeLeaseHook => "beforeLease",
        ExporterStatus::LeaseReady if link.is_none() => "serving",
        ExporterStatus::LeaseReady => "leased",
        ExporterStatus::AfterLeaseHook => "afterLease",
        ExporterStatus::BeforeLeaseHookFailed => "beforeLease failed",
        ExporterStatus::AfterLeaseHookFailed => "afterLease failed",
    }
}

fn link(link: LinkSnapshot) -> Link {
    Link {
        endpoint: link.endpoint,
        connected: link.connected,
        detail: link.detail,
        tunnels: link.tunnels.try_into().unwrap_or(u32::MAX),
    }
}

fn instance(instance: InstanceSnapshot) -> Instance {
    let (health, reason) = match instance.health {
        Health::Ready => (control::Health::Ready, String::new()),
        Health::Absent(reason) => (control::Health::Absent, reason),
        Health::Faulty(reason) => (control::Health::Faulty, reason),
    };
    Instance {
        path: instance.path,
        r#type: instance.type_name,
        health: health.into(),
        reason,
        busy: instance.busy.map(busy),
    }
}

fn busy((method, since): (String, Duration)) -> Busy {
    Busy {
        method,
        // One that does not fit would have begun before the earth was there.
        since: since.try_into().ok(),
    }
}

/// Which hook was asked for.
///
/// # Errors
/// INVALID_ARGUMENT: none of them.
pub(super) fn hook(wanted: i32) -> Result<Hook, Status> {
    match control::Hook::try_from(wanted) {
        Ok(control::Hook::BeforeLease) => Ok(Hook::Before),
        Ok(control::Hook::AfterLease) => Ok(Hook::After),
        Ok(control::Hook::Unspecified) | Err(_) => Err(Status::invalid_argument(
            "no hook was named; there are beforeLease and afterLease",
        )),
    }
}

/// What a person wants of a console.
pub(super) fn open_console(
    open: control::OpenConsole,
    input: mpsc::Receiver<Bytes>,
    news: mpsc::Sender<Result<ConsoleNews, Status>>,
) -> OpenConsole {
    OpenConsole {
        path: open.path,
        history: usize::try_from(open.history).unwrap_or(usize::MAX),
        follow: open.follow,
        write: open.write,
        force: open.force,
        input,
        news,
    }
}

/// What a console does.
pub(super) fn console(news: ConsoleNews) -> ConsoleResponse {
    let news = match news {
        ConsoleNews::Opened(path) => News::Opened(path),
        ConsoleNews::Heard(heard) => News::Output(ConsoleOutput {
            time: Some(heard.time.into()),
            lost: heard.lost,
            bytes: heard.bytes,
        }),
        ConsoleNews::NotSent(reason) => News::NotSent(reason),
    };
    ConsoleResponse { news: Some(news) }
}

/// The embedded controller at a glance.
pub(super) fn controller(lab: &Lab) -> control::EmbeddedController {
    let count = |number: usize| number.try_into().unwrap_or(u32::MAX);
    lab.engine.read(|world| {
        let exporters = world.exporters.values();
        let online = exporters.filter(|exporter| presence::is_there(exporter));
        let leases = world.leases.values().filter(|lease| lease.over.is_none());
        control::EmbeddedController {
            endpoint: lab.endpoint.clone(),
            exporters: count(world.exporters.len()),
            online: count(online.count()),
            leases: count(leases.count()),
        }
    })
}

//! The service over exporters that answer, and over one that never does.

mod lab;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use rigd_proto::control::v1::{
    self as control, HoldRequest, ReloadRequest, StatusRequest, UnholdRequest,
    control_server::Control,
};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request};

use super::{
    bind,
    client::{ConnectError, connect, places},
    service::Service,
};
use crate::{
    daemon::handle::{ANSWER_LIMIT, Ask, Exporters},
    transport::unix::BindError,
};
use lab::{Lab, lab, no_lab, reload};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn one_that_hangs_delays_nobody_and_is_shown() {
    let (exporters, _hung) = lab();
    let service = Service::new(exporters, no_lab(), reload().0);
    let begin = Instant::now();
    let all = service.status(Request::new(StatusRequest::default())).await;
    // Of the paused clock: side by side means once the limit, however many hang.
    assert_eq!(begin.elapsed().as_secs(), ANSWER_LIMIT.as_secs());
    let all = all.unwrap().into_inner();
    assert_eq!(all.pid, std::process::id());
    assert!(all.started.is_some());
    let by_name: BTreeMap<_, _> = all.exporters.iter().map(|e| (e.name.as_str(), e)).collect();
    let states: Vec<_> = by_name.values().map(|e| (&*e.name, &*e.state)).collect();
    let wanted = [
        ("alone", "serving"),
        ("good", "available"),
        ("hung", "not answering"),
        ("over", "ended"),
        ("taken", "leased"),
    ];
    assert_eq!(states, wanted);
    assert_eq!(by_name["over"].exit_code, Some(3));
    assert!(by_name["alone"].link.is_none());
    let taken = by_name["taken"];
    assert_eq!(taken.lease.as_ref().unwrap().client, "ann");
    assert_eq!(taken.link.as_ref().unwrap().tunnels, 1);
    assert!(taken.retiring);
    let instance = &taken.instances[0];
    assert_eq!(instance.health(), control::Health::Absent);
    assert_eq!(instance.reason, "unplugged");
    let busy = instance.busy.as_ref().unwrap();
    assert_eq!((&*busy.method, busy.since.unwrap().seconds), ("write", 1));
}

#[tokio::test(start_paused = true)]
async fn one_alone_is_not_delayed_by_another_that_hangs() {
    let (exporters, _hung) = lab();
    let service = Service::new(exporters, no_lab(), reload().0);
    let begin = Instant::now();
    let request = |exporter: &str| {
        Request::new(StatusRequest {
            exporter: exporter.into(),
        })
    };
    let one = service.status(request("good")).await.unwrap().into_inner();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(one.exporters.len(), 1);
    let over = service.status(request("over")).await.unwrap().into_inner();
    assert_eq!(over.exporters[0].exit_code, Some(3));
    let error = service.status(request("rpi")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("good, hung"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn questions_to_one_that_hangs_end() {
    let (exporters, mut hung) = lab();
    let service = Service::new(exporters, no_lab(), reload().0);
    let hold = HoldRequest {
        exporter: "hung".into(),
        reason: "x".into(),
    };
    let error = service.hold(Request::new(hold)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(matches!(hung.try_recv(), Ok(Ask::Hold(Some(_), _))));
    // Nobody takes a reload either.
    let error = service.reload(Request::new(ReloadRequest {})).await;
    assert_eq!(error.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_hangs_is_told() {
    let (reload, _never_taken) = reload();
    let service = Service::new(Exporters::default(), no_lab(), reload);
    let error = service.reload(Request::new(ReloadRequest {})).await;
    assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn calls_bring_results_and_know_the_lease() {
    let mut lab = Lab::start().await;
    let args = [json!("on"), json!(3), json!(null)];
    let about = json!({"path": "dutlink.power", "method": "set"});
    let wanted = [vec![about], args.to_vec()].concat();
    assert_eq!(lab.call("good", &args, false).await.unwrap(), wanted);
    let error = lab.call("taken", &args, false).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("ann"), "{error}");
    assert_eq!(lab.call("taken", &args, true).await.unwrap(), wanted);
    let error = lab.call("over", &args, false).await.unwrap_err();
    assert!(error.message().contains("exit code 3"), "{error}");
}

#[tokio::test]
async fn an_exporter_that_stops_under_a_call_is_no_success() {
    let mut lab = Lab::start().await;
    let error = lab.call_method("good", "die", &[], false).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("'good' has stopped"), "{error}");
}

#[tokio::test]
async fn a_hold_is_shown_until_it_ends() {
    let mut lab = Lab::start().await;
    let hold = |reason: &str| HoldRequest {
        exporter: "good".into(),
        reason: reason.into(),
    };
    let error = lab.client.hold(hold(" \n")).await.unwrap_err();
    assert_eq!(error.message(), "no reason");
    lab.client.hold(hold(" relay is stuck ")).await.unwrap();
    let status = StatusRequest {
        exporter: "good".into(),
    };
    let held = lab.client.status(status.clone()).await.unwrap();
    assert_eq!(held.get_ref().exporters[0].hold, "relay is stuck");
    let unhold = UnholdRequest {
        exporter: "good".into(),
    };
    lab.client.unhold(unhold).await.unwrap();
    let free = lab.client.status(status).await.unwrap();
    assert_eq!(free.get_ref().exporters[0].hold, "");
}

#[tokio::test]
async fn hooks_are_rehearsed() {
    use control::Hook::{AfterLease, BeforeLease, Unspecified};
    let mut lab = Lab::start().await;
    let (lines, failure) = lab.hook("good", BeforeLease).await.unwrap();
    assert_eq!((lines.concat(), failure), ("Before".into(), String::new()));
    let (lines, failure) = lab.hook("good", AfterLease).await.unwrap();
    assert_eq!(lines, ["After"]);
    assert_eq!(failure, "Hook failed with exit code 3");
    let error = lab.hook("taken", BeforeLease).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let error = lab.hook("good", Unspecified).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_reload_tells_what_changed_or_what_is_wrong() {
    let mut lab = Lab::start().await;
    let long = "error: unknown key\n".repeat(1000);
    for said in [Ok(vec!["good: restarted".to_owned()]), Err(long)] {
        let mut client = lab.client.clone();
        let answer = async { client.reload(ReloadRequest {}).await.unwrap().into_inner() };
        let daemon = async {
            let reply = lab.reloads.recv().await.unwrap();
            reply.send(said.clone()).unwrap();
        };
        let (answer, ()) = timeout(PATIENCE, async { tokio::join!(answer, daemon) })
            .await
            .unwrap();
        assert_eq!(answer.changes, said.clone().unwrap_or_default());
        assert_eq!(answer.problems, said.err().unwrap_or_default());
    }
}

#[tokio::test]
async fn the_socket_is_for_a_group_and_not_taken_over() {
    let lab = Lab::start().await;
    let mode = std::fs::metadata(lab.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let error = bind(&lab.path(), None).await.unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    lab.shutdown.begin.cancel();
    timeout(PATIENCE, lab.server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(!lab.dir.path().join("control.sock").exists());
}

#[tokio::test]
async fn the_first_that_answers_is_asked() {
    let lab = Lab::start().await;
    let stale = lab.dir.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let missing = lab.dir.path().join("missing");
    let found = connect(&[stale.clone(), missing.clone(), lab.path()]).await;
    found
        .unwrap()
        .status(StatusRequest {
            exporter: "good".into(),
        })
        .await
        .unwrap();
    let error = connect(&[stale.clone(), missing.clone()])
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Nobody(_)));
    let said = error.to_string();
    for wanted in [
        &format!("{} (left by a daemon that is gone)", stale.display()),
        &format!("{} (not there)", missing.display()),
        "rigd run",
        "--socket",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in: {said}");
    }
}

#[test]
fn a_named_socket_is_the_only_place() {
    let own = PathBuf::from("/run/user/7/rigd");
    assert_eq!(places(Some("/x".into()), &own), [PathBuf::from("/x")]);
    let wanted = ["/run/user/7/rigd/control.sock", "/run/rigd/control.sock"];
    assert_eq!(places(None, &own), wanted.map(PathBuf::from));
    let service = places(None, "/run/rigd".as_ref());
    assert_eq!(service, [PathBuf::from("/run/rigd/control.sock")]);
}

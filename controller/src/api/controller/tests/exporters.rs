//! Exporters come, hear who holds them, and go.

use rigd_proto::v1::{RegisterRequest, UnregisterRequest};

use super::*;
use crate::{model::ExporterState, presence};

fn words(told: StatusResponse) -> (bool, Option<String>, Option<String>) {
    (told.leased, told.lease_name, told.client_name)
}

fn held(lease: &str, client: &str) -> (bool, Option<String>, Option<String>) {
    (true, Some(lease.into()), Some(client.into()))
}

#[tokio::test]
async fn status_tells_at_once_and_then_each_change() {
    let lab = Lab::new().await;
    let (mut rig, mut status) = lab.there().await;
    lab.ask("one", "bench").await;
    assert_eq!(words(next(&mut status).await), held("one", "bench"));
    // What changes nothing for the exporter is not told: the next message is the transfer.
    report(&mut rig, ExporterStatus::LeaseReady).await;
    lab.ask("queued", "bench").await;
    lab.transfer("one", "other").await;
    assert_eq!(words(next(&mut status).await), held("one", "other"));
    let mut second = rig.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        words(next(&mut second).await),
        held("one", "other"),
        "leased in the first message"
    );
    lab.end("one").await;
    for stream in [&mut status, &mut second] {
        assert_eq!(words(next(stream).await), (false, None, None));
    }
}

#[tokio::test]
async fn between_two_leases_it_hears_that_it_is_free() {
    let lab = Lab::new().await;
    let (_rig, mut status) = lab.there().await;
    lab.ask("one", "bench").await;
    lab.ask("two", "other").await;
    assert_eq!(words(next(&mut status).await), held("one", "bench"));
    // It has not said anything since, so that the second one gets it in the same moment.
    lab.end("one").await;
    assert_eq!(words(next(&mut status).await), (false, None, None));
    assert_eq!(words(next(&mut status).await), held("two", "other"));
}

#[tokio::test]
async fn it_is_there_while_its_stream_is_open_and_not_when_it_vanished() {
    let lab = Lab::new().await;
    let (rig, status) = lab.there().await;
    let there = |world: &crate::model::World| presence::assignable(&world.exporters["rig-1"]);
    assert!(lab.engine.read(there));
    // The whole connection breaks, without a word.
    drop((rig, status));
    lab.until("it is away", |world| {
        world.exporters["rig-1"].presence.streams == 0
    })
    .await;
    assert!(!lab.engine.read(there));
    assert_eq!(lab.engine.holding("rig-1").borrow().lease, "");
}

#[tokio::test]
async fn register_keeps_its_own_labels_and_all_devices() {
    let lab = Lab::new().await;
    let mut rig = lab.exporter("rig-1").await;
    let labels = [
        ("jumpstarter.dev/a", "1"),
        ("board", "rpi5"),
        ("admin", "yes"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let request = RegisterRequest {
        labels: labels.into(),
        ..register_request()
    };
    let answer = rig.register(request).await.unwrap().into_inner();
    let kept = lab.engine.read(|world| world.exporters["rig-1"].clone());
    assert_eq!(answer.uuid, kept.uid.to_string());
    let keys: Vec<_> = kept
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(keys, ["board=rpi4", "jumpstarter.dev/a=1"]);
    assert_eq!(kept.devices[1].parent_uuid.as_deref(), Some("root"));
    rig.register(register_request()).await.unwrap();
    let kept = lab
        .engine
        .read(|world| world.exporters["rig-1"].labels.len());
    assert_eq!(kept, 1, "replaced as a set");
    let labels = [("jumpstarter.dev/a".to_owned(), "not a value!".to_owned())].into();
    let wrong = rig
        .register(RegisterRequest {
            labels,
            reports: vec![],
        })
        .await;
    assert_eq!(told(wrong).0, Code::InvalidArgument);
    let many = vec![Default::default(); 1025];
    let wrong = rig
        .register(RegisterRequest {
            labels: Default::default(),
            reports: many,
        })
        .await;
    assert_eq!(told(wrong).0, Code::InvalidArgument);
}

#[tokio::test]
async fn signing_off_leaves_the_lease_and_a_new_process_goes_on_with_it() {
    let lab = Lab::new().await;
    let (mut rig, status) = lab.there().await;
    lab.ask("one", "bench").await;
    drop(status);
    lab.until("closed", |world| {
        world.exporters["rig-1"].presence.streams == 0
    })
    .await;
    rig.unregister(UnregisterRequest {
        reason: "Exporter shutdown".into(),
    })
    .await
    .unwrap();
    let away = lab.engine.read(|world| world.exporters["rig-1"].clone());
    assert!(away.devices.is_empty() && !presence::is_registered(&away));
    assert_eq!(away.presence.message, "Exporter shutdown");
    assert!(lab.engine.read(|world| world.leases["one"].over.is_none()));
    rig.register(register_request()).await.unwrap();
    report(&mut rig, ExporterStatus::Available).await;
    let mut status = rig.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(words(next(&mut status).await), held("one", "bench"));
}

#[tokio::test]
async fn a_report_may_release_what_the_exporter_serves() {
    let lab = Lab::new().await;
    let (mut rig, mut status) = lab.there().await;
    let release = ReportStatusRequest {
        status: ExporterStatus::AfterLeaseHook.into(),
        message: None,
        release_lease: Some(true),
    };
    rig.report_status(release.clone()).await.unwrap();
    report(&mut rig, ExporterStatus::Available).await;
    lab.ask("one", "bench").await;
    assert!(next(&mut status).await.leased);
    rig.report_status(release).await.unwrap();
    assert!(!next(&mut status).await.leased);
    let state = lab
        .engine
        .read(|world| world.exporters["rig-1"].presence.status);
    assert_eq!(state, Some(ExporterState::AfterLeaseHook));
    let long = ReportStatusRequest {
        message: Some("ä".repeat(10_000)),
        ..Default::default()
    };
    rig.report_status(long).await.unwrap();
    let kept = lab
        .engine
        .read(|world| world.exporters["rig-1"].presence.message.len());
    assert_eq!(kept, 1024);
}

#[tokio::test]
async fn who_signs_off_does_not_take_along_another_process_of_its_name() {
    let lab = Lab::new().await;
    let (mut rig, _status) = lab.there().await;
    rig.unregister(UnregisterRequest::default()).await.unwrap();
    tokio::time::pause();
    lab.until("it is back", |world| {
        presence::assignable(&world.exporters["rig-1"])
    })
    .await;
}

#[tokio::test]
async fn the_stream_of_an_exporter_that_is_gone_ends() {
    let lab = Lab::new().await;
    let (_rig, mut status) = lab.there().await;
    // Gone and made anew, in one step.
    lab.keep(vec![Change::Exporter("rig-1".into(), None)]).await;
    lab.keep(vec![Change::Exporter("rig-1".into(), Some(exporter()))])
        .await;
    let mut new = lab
        .exporter("rig-1")
        .await
        .status(StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    next(&mut new).await;
    let (code, text) = end(&mut status).await;
    assert_eq!(code, Code::Unknown);
    assert!(text.contains("\"rig-1\" not found"), "{text}");
    let streams = lab
        .engine
        .read(|world| world.exporters["rig-1"].presence.streams);
    assert_eq!(
        streams, 1,
        "the older stream was not one of the new exporter"
    );
}

#[tokio::test]
async fn a_stream_whose_token_is_revoked_ends() {
    let lab = Lab::new().await;
    let (_rig, mut status) = lab.there().await;
    let mut revoked = lab.engine.read(|world| world.exporters["rig-1"].clone());
    revoked.tokens_from = SystemTime::now();
    lab.keep(vec![Change::Exporter("rig-1".into(), Some(revoked))])
        .await;
    tokio::time::pause();
    let (_, text) = end(&mut status).await;
    assert_eq!(text, "oidc: verify token: oidc: token was revoked");
}

#[tokio::test]
async fn a_client_that_came_first_gets_the_exporter_as_soon_as_it_is_there() {
    let lab = Lab::new().await;
    lab.ask("one", "bench").await;
    let mut rig = lab.exporter("rig-1").await;
    rig.register(register_request()).await.unwrap();
    report(&mut rig, ExporterStatus::Available).await;
    assert!(lab.engine.read(|world| world.leases["one"].held.is_none()));
    let mut status = rig.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(words(next(&mut status).await), held("one", "bench"));
}

#[tokio::test]
async fn what_is_registered_again_is_not_written_again() {
    let lab = Lab::new().await;
    let mut rig = lab.exporter("rig-1").await;
    let kept = || std::fs::read(lab.state.path().join("controller.redb")).unwrap();
    let before = kept();
    let first = rig.register(register_request()).await.unwrap().into_inner();
    let written = kept();
    assert!(written != before, "the first one is kept");
    lab.engine.note("rig-1", |rig, _| {
        rig.presence.registered = false;
        rig.presence.last_seen = None;
    });
    let again = rig.register(register_request()).await.unwrap().into_inner();
    assert_eq!(again, first);
    assert!(kept() == written, "nothing of it is new");
    let presence = lab
        .engine
        .read(|world| world.exporters["rig-1"].presence.clone());
    assert!(presence.registered && presence.last_seen.is_some());
    let mut other = register_request();
    other.reports.clear();
    rig.register(other).await.unwrap();
    assert!(kept() != written, "it has other devices");
}

#[tokio::test]
async fn what_it_registered_outlives_the_controller() {
    let lab = Lab::new().await;
    let mut rig = lab.exporter("rig-1").await;
    rig.register(register_request()).await.unwrap();
    // As after kill -9: the file of this moment.
    let killed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(lab.state.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
    }
    let kept = Store::open(killed.path()).unwrap().load().unwrap();
    let devices = &kept.world.exporters["rig-1"].devices;
    assert_eq!(
        *devices,
        lab.engine
            .read(|world| world.exporters["rig-1"].devices.clone())
    );
    assert_eq!(devices.len(), 2);
}

//! A lease of a controller from its start to its end, over TLS and through the router.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod support;

use std::{fs, path::PathBuf, time::Duration};

use lab::{Lab, reported, story};
use rigd_client::{Code, Error, Exporter};
use rigd_proto::v1::ExporterStatus::{Available, LeaseReady, Offline};
use support::{daemon::Daemon, settings::Settings};

const LIMIT: Duration = Duration::from_secs(20);

const POWER: &str = "export:\n  power: {type: jumpstarter_driver_power.driver.MockPower}\n";

fn config(lab: &Lab, settings: &Settings, rest: &str) -> PathBuf {
    let file = settings.path("rig.yaml");
    fs::write(&file, lab.exporter_yaml("rig", rest)).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_from_registration_to_release() {
    let (lab, settings) = (Lab::start(), Settings::new());
    let file = config(&lab, &settings, POWER);
    let mut daemon = Daemon::serve(&[&file], &settings);
    lab.wait(LIMIT, |heard| reported(heard, "rig", Available));

    let lease = lab.lease("rig", "bench");
    lab.wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    let door = lab.dial(&lease);
    let exporter = Exporter::connect_unix(door.path()).await.unwrap();
    let power = exporter.device("power").await.unwrap().power();
    power.on().await.unwrap();

    let end = exporter.end_session().await.unwrap();
    assert!(end.accepted, "{end:?}");
    let error = power.off().await.unwrap_err();
    let Error::Refused { code, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*code, Code::FailedPrecondition, "{error}");
    while exporter.status().await.unwrap().state != Available {}
    lab.wait(LIMIT, |heard| reported(heard, "rig", Available));
    daemon.stop_cleanly();
    let heard = lab.wait(LIMIT, |heard| reported(heard, "rig", Offline));
    assert_eq!(
        story(&heard, "rig"),
        [
            "register",
            "status",
            "Exporter registered and available",
            "listen",
            "Ready for commands",
            "release",
            "Exporter available after lease release",
            "Exporter shutting down",
            "unregister: Exporter shutdown",
        ]
    );
}

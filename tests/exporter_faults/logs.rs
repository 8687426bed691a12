//! Who reads which line.

use std::time::Duration;

use rigd_client::{Exporter, ExporterStatus, LogSource, Logs};

use crate::{
    lab::{Lab, Part},
    rig::{Rig, SOON, accepted},
    traffic::rig::within,
};

/// Reads to the line that comes last, and returns all of them.
async fn read(mut logs: Logs, last: &str) -> Vec<(LogSource, String)> {
    let mut lines = Vec::new();
    let reading = async {
        loop {
            let line = logs.next().await.unwrap().expect("the last line comes");
            let is_last = line.message == last;
            lines.push((line.source, line.message));
            if is_last {
                return;
            }
        }
    };
    within(SOON, last, reading).await;
    lines
}

async fn calls(client: &Exporter, method: &str, count: usize) {
    let power = client.device("power").await.unwrap();
    for _ in 0..count {
        power.call(method, vec![]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_15_and_16_every_reader_gets_every_line_of_its_exporter_and_none_of_another() {
    const CALLS: usize = 30;
    let hooks = "hooks:\n  beforeLease: {script: echo begin of $CLIENT_NAME}\n  \
                 afterLease: {script: echo end of $CLIENT_NAME}\n";
    let mut rig = Rig::launch(Lab::start(), &[("rig", hooks), ("other", hooks)]);
    let free = ["rig", "other"];
    let status = |name| rig.lab.status_of(name).map(|(status, _)| status);
    rig.until("available", || {
        free.iter()
            .all(|name| status(name) == Some(ExporterStatus::Available))
    });
    let leases = [rig.lab.lease("rig", "anna"), rig.lab.lease("other", "bert")];
    let (anna, bert) = (rig.client(&leases[0]).await, rig.client(&leases[1]).await);
    let (anna, bert) = (&anna.exporter, &bert.exporter);
    let readers = [
        (anna.logs().await.unwrap(), "end of anna"),
        (anna.logs().await.unwrap(), "end of anna"),
        (bert.logs().await.unwrap(), "end of bert"),
    ];
    let readers = readers.map(|(logs, last)| tokio::spawn(read(logs, last)));
    tokio::join!(calls(anna, "on", CALLS), calls(bert, "off", CALLS));
    assert!(anna.end_session().await.unwrap().accepted);
    assert!(bert.end_session().await.unwrap().accepted);
    let mut got = Vec::new();
    for reader in readers {
        got.push(reader.await.unwrap());
    }
    assert_eq!(got[0], got[1]);
    for (lines, (own, done), (foreign, other)) in [
        (&got[0], ("power on", "anna"), ("power off", "bert")),
        (&got[2], ("power off", "bert"), ("power on", "anna")),
    ] {
        let count = |text: &str| lines.iter().filter(|line| line.1 == text).count();
        assert_eq!(count(own), CALLS, "{lines:#?}");
        assert_eq!(count(foreign), 0, "{lines:#?}");
        let begin = (LogSource::BeforeLeaseHook, format!("begin of {done}"));
        assert!(lines.contains(&begin), "{lines:#?}");
        assert!(
            !lines.iter().any(|line| line.1.contains(other)),
            "{lines:#?}"
        );
    }
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_clients_read_nothing_of_the_controller() {
    let hooks = "hooks: {afterLease: {script: echo the end}}\n";
    let mut rig = Rig::start_in(Lab::start_with_router_port(), hooks);
    let (_, client) = rig.lease("bench").await;
    let reader = tokio::spawn(read(client.exporter.logs().await.unwrap(), "the end"));
    let before = rig.lab.heard().len();
    rig.lab.cut(Part::Controller);
    rig.daemon.expect_line("Connected to the controller again");
    rig.lab.wait(SOON, |heard| {
        accepted(&heard[before..]).any(|(status, _)| status == ExporterStatus::LeaseReady)
    });
    calls(&client.exporter, "on", 1).await;
    assert!(client.exporter.end_session().await.unwrap().accepted);
    let lines = reader.await.unwrap();
    assert!(lines.iter().any(|line| line.1 == "power on"), "{lines:#?}");
    let port = rig.lab.port().to_string();
    assert!(
        !lines
            .iter()
            .any(|line| line.1.contains(&port) || line.1.contains("controller")),
        "{lines:#?}"
    );
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_32_and_33_the_collection_has_the_namespace_and_the_last_lines() {
    let lab = Lab::start();
    lab.offer_telemetry("info");
    let mut rig = Rig::start_in(lab, "safeState: [{call: power.off}]\n");
    let (lease, client) = rig.lease("bench").await;
    within(SOON, "the collection", async {
        while rig.lab.telemetry().is_empty() {
            calls(&client.exporter, "on", 1).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    rig.stops();
    let entries = rig.lab.telemetry();
    let last = entries.iter().find(|entry| entry.message == "power off");
    let last = last.unwrap_or_else(|| panic!("{entries:#?}"));
    assert_eq!(
        (last.exporter.as_str(), last.namespace.as_str()),
        ("rig", "lab")
    );
    assert_eq!(
        (last.lease.as_str(), last.client.as_str()),
        (lease.as_str(), "bench")
    );
}

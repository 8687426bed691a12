//! Without a controller.

use std::fs;

use rigd_client::{Code, ConnectOptions, Exporter, ExporterStatus};
use rigd_proto::v1::{GetStatusRequest, exporter_service_client::ExporterServiceClient};
use rustix::process::Signal;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};

use crate::{
    rig::{POWER, SOON, until},
    support::{daemon::Daemon, settings::Settings},
    traffic::run::Running,
};

const PASSPHRASE: &str = "Correct horse";

/// Serves a rig on TCP with a passphrase.
fn serve(settings: &Settings, hooks: &str) -> (Running, String) {
    let file = settings.path("rig.yaml");
    let dir = settings.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    let hooks = hooks.replace("@DIR@", dir);
    let head = "metadata: {name: rig, namespace: lab}\n";
    fs::write(&file, format!("{head}{POWER}{hooks}")).unwrap();
    fs::write(settings.path("passphrase"), PASSPHRASE).unwrap();
    let address = format!("127.0.0.1:{}", settings.port);
    let mut command = Daemon::command(settings);
    command.arg("run").arg(file);
    command.args(["--tls-grpc-listener", &address, "--tls-grpc-insecure"]);
    command.arg("--passphrase-file");
    command.arg(settings.path("passphrase"));
    (Running::spawn(command), address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_36_end_session_changes_nothing_and_hooks_need_no_passphrase() {
    let before = format!(
        "echo -n $JUMPSTARTER_HOST > @DIR@/new; mv @DIR@/new @DIR@/host; {}",
        until("go")
    );
    let hooks = format!(
        "hooks:\n  beforeLease: {{script: '{before}'}}\n  \
         afterLease: {{script: echo after >> @DIR@/trace}}\n"
    );
    let settings = Settings::new();
    let (mut daemon, address) = serve(&settings, &hooks);
    let begin = std::time::Instant::now();
    let host = loop {
        match fs::read_to_string(settings.path("host")) {
            Ok(host) => break host,
            Err(_) if begin.elapsed() < SOON => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Err(why) => panic!("{why}:\n{}", daemon.output.text()),
        }
    };
    // As the hook itself would do it.
    let hook = Exporter::connect_unix(&host).await.unwrap();
    let power = hook.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    fs::write(settings.path("go"), "").unwrap();
    daemon.expect_line("Exporter rig is ready");

    let options = ConnectOptions {
        passphrase: Some(PASSPHRASE.to_owned()),
        ..ConnectOptions::default()
    };
    let client = Exporter::connect_tcp(&address, &options).await.unwrap();
    let end = client.end_session().await.unwrap();
    assert!(!end.accepted, "{end:?}");
    assert_eq!(end.message, "No active lease context");
    let status = client.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::LeaseReady);
    let power = client.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    daemon.signal(Signal::TERM);
    let code = daemon.ended(SOON).code();
    assert_eq!(code, Some(0), "{}", daemon.output.text());
    let trace = fs::read_to_string(settings.path("trace")).unwrap();
    assert_eq!(trace, "after\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_37_a_passphrase_that_is_not_ascii_is_a_wrong_one() {
    let settings = Settings::new();
    let (mut daemon, address) = serve(&settings, "");
    daemon.expect_line("Exporter rig is ready");
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let channel = channel.unwrap().connect().await.unwrap();
    let mut service = ExporterServiceClient::new(channel);
    for (passphrase, right) in [("Pferd für Pferd", false), (PASSPHRASE, true)] {
        let mut request = Request::new(GetStatusRequest {});
        let value = MetadataValue::<Ascii>::try_from(passphrase.as_bytes()).unwrap();
        request
            .metadata_mut()
            .insert("x-jumpstarter-passphrase", value);
        let answer = service.get_status(request).await;
        match right {
            true => drop(answer.unwrap()),
            false => assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated),
        }
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(SOON).code(), Some(0));
}

//! What goes wrong between an exporter and its controller and router is told in words that lead to
//! the cure, costs little, and once it is mended the exporter serves leases.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod link;
mod support;

use std::{
    fs,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use lab::{Fault, Heard, Lab, Part, Rpc, What, reported};
use link::{EXPORT, LIMIT, Rig, command, impostor::Impostor, write};
use rigd_client::Code;
use rigd_proto::v1::{ExporterStatus::Available, StatusResponse};
use support::{daemon::Daemon, settings::Settings};

/// The file of a rig at this lab.
fn right(lab: &Lab) -> String {
    lab.exporter_yaml("rig", EXPORT)
}

/// A token that stopped to count three days ago.
fn expired_token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() - 3 * 24 * 60 * 60 - 60;
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"ES256","typ":"JWT"}"#);
    format!("{head}.{}.c2ln", part(&format!(r#"{{"exp":{end}}}"#)))
}

/// A refusal shows in the log, as an error where waiting alone does not help, and in `rigd status`.
#[track_caller]
fn is_told(rig: &Rig, level: &str, words: &[&str]) {
    let all = |text: &str| words.iter().all(|word| text.contains(word));
    rig.daemon
        .expect_line(&format!("{level} with {words:?}"), |line| {
            line.contains(level) && all(line)
        });
    let shown = rig.until_cut_off();
    assert!(all(&shown), "{shown}");
    assert_eq!(rig.status()["state"], "offline");
}

/// Then the file is put right, and all is well at once.
async fn is_mended_by_its_file(rig: Rig) {
    let asked = rig.lab.heard().len();
    assert!(asked <= 2, "{}", lab::listing(&rig.lab.heard()));
    rig.reload(&right(&rig.lab));
    rig.is_free();
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_in_the_file() {
    let lab = Lab::start();
    let token = lab.exporter_token("rig");
    let yaml = right(&lab).replace(&token, &expired_token());
    let rig = Rig::serve(lab, &yaml);
    is_told(
        &rig,
        "ERROR",
        &[
            "token expired 3 days ago (",
            "permission denied for exporter lab/rig",
        ],
    );
    is_mended_by_its_file(rig).await;
}

/// A rig whose token is in a file of its own, with these contents; and the right token.
fn with_token_file(lab: Lab, content: Option<&str>) -> (Rig, String) {
    let settings = Settings::new();
    let token = lab.exporter_token("rig");
    let yaml = right(&lab).replace(&format!("token: {token}"), "tokenFile: @DIR@/token");
    if let Some(content) = content {
        fs::write(settings.path("token"), content).unwrap();
    }
    let command = command(&settings, &write(&settings, &yaml));
    (Rig::serve_by(lab, settings, command), token)
}

/// Nobody has to tell the daemon of it.
async fn is_mended_by_its_token(rig: Rig, token: &str) {
    fs::write(rig.settings.path("token"), token).unwrap();
    rig.is_free();
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_the_controller_calls_expired_and_a_new_one_in_its_place() {
    let lab = Lab::start();
    // As the real controller says it.
    let text = "oidc: verify token: oidc: token is expired (Token Expiry: 2026-01-01)";
    lab.inject(Fault::refuse(Rpc::Register, Code::Unknown, text).times(1));
    let token = lab.exporter_token("rig");
    let (rig, _) = with_token_file(lab, Some(&token));
    let cure = "create a new one for this exporter and put it into `token` or `tokenFile`";
    is_told(&rig, "ERROR", &["the token has expired: ", cure]);
    let renewed = rig.lab.rotate_token("rig");
    is_mended_by_its_token(rig, &renewed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_token_in_a_file_of_its_own() {
    let (rig, token) = with_token_file(Lab::start(), Some("two words"));
    let what = "there is a blank or a line end within it, so it is no token";
    is_told(&rig, "ERROR", &["/token: ", what]);
    assert!(
        rig.lab.heard().is_empty(),
        "nobody is asked without a token"
    );
    assert!(!rig.daemon.output.text().contains("two words"));
    is_mended_by_its_token(rig, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_there_yet() {
    let (rig, token) = with_token_file(Lab::start(), None);
    is_told(
        &rig,
        "ERROR",
        &["cannot read token file", "No such file or directory"],
    );
    is_mended_by_its_token(rig, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_token_in_the_file_stops_the_start_but_no_running_exporter() {
    let lab = Lab::start();
    let token = lab.exporter_token("rig");
    let wrong = right(&lab).replace(&token, "'two words'");
    let rig = Rig::start(lab, "");
    let settings = Settings::new();
    let file = write(&settings, &wrong);
    let started = Daemon::command(&settings)
        .arg("run")
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(started.stderr).unwrap();
    assert_eq!(started.status.code(), Some(2), "{text}");
    for texts in [text, {
        write(&rig.settings, &wrong);
        rig.ask(&["reload"])
    }] {
        assert!(
            texts.contains("there is a blank or a line end within it"),
            "{texts}"
        );
        assert!(!texts.contains("two words"), "{texts}");
    }
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_the_controller_does_not_know() {
    let lab = Lab::start();
    let yaml = right(&lab).replace("namespace: lab", "namespace: elsewhere");
    let rig = Rig::serve(lab, &yaml);
    let cure = "create it there, or correct `metadata.name` and `metadata.namespace`";
    is_told(
        &rig,
        "ERROR",
        &["the controller knows no exporter of this name", cure],
    );
    is_mended_by_its_file(rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_than_the_controllers() {
    let lab = Lab::start();
    let other = Impostor::start("localhost", |_| ()).await;
    let yaml = right(&lab).replace(&lab.ca_base64(), &other.ca);
    let rig = Rig::serve(lab, &yaml);
    let cure = "give the controller's CA in `tls.ca`";
    is_told(&rig, "ERROR", &["not signed by a trusted authority", cure]);
    is_mended_by_its_file(rig).await;
}

/// The lab's exporter, sent to a server that is none.
fn at(impostor: &Impostor, lab: &Lab) -> String {
    let yaml = right(lab).replace(&lab.ca_base64(), &impostor.ca);
    yaml.replace(&lab.endpoint(), &impostor.endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name() {
    let lab = Lab::start();
    let impostor = Impostor::start("other.example", |_| ()).await;
    let yaml = at(&impostor, &lab);
    let rig = Rig::serve(lab, &yaml);
    let names = "its certificate is for `other.example`, not for `localhost`";
    is_told(
        &rig,
        "ERROR",
        &[names, "use one of these names as endpoint"],
    );
    is_mended_by_its_file(rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired() {
    let lab = Lab::start();
    let end = rcgen::date_time_ymd(2020, 1, 1);
    let impostor = Impostor::start("localhost", |leaf| leaf.not_after = end).await;
    let yaml = at(&impostor, &lab);
    let rig = Rig::serve(lab, &yaml);
    let words = [
        "its certificate expired at 2020-01-01T00:00:00Z",
        "the clock of this host says",
    ];
    is_told(&rig, "ERROR", &words);
    is_mended_by_its_file(rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_future_is_met_again_and_again_until_the_clock_is_right() {
    let lab = Lab::start();
    let begin = rcgen::date_time_ymd(2090, 1, 1);
    let impostor = Impostor::start("localhost", |leaf| leaf.not_before = begin).await;
    let yaml = at(&impostor, &lab);
    let rig = Rig::serve(lab, &yaml);
    let words = [
        "its certificate is valid from 2090-01-01T00:00:00Z only",
        "the clock of this host says",
        "which is probably wrong",
    ];
    is_told(&rig, "WARN", &words);
    rig.daemon.expect_line("second attempt", |line| {
        line.contains("Still no connection")
    });
    is_mended_by_its_file(rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_does_not_speak_tls() {
    let lab = Lab::start();
    lab.talk_nonsense(Part::Both, true);
    let yaml = right(&lab);
    let rig = Rig::serve(lab, &yaml);
    is_told(
        &rig,
        "WARN",
        &["the server does not answer in TLS; this looks like a plain-text port"],
    );
    // It may be another server during a restart, so that nobody has to do anything.
    rig.lab.talk_nonsense(Part::Both, false);
    rig.is_free();
    rig.is_leasable().await;
    rig.finish();
}

fn says(leased: bool, name: &str, client: &str) -> StatusResponse {
    StatusResponse {
        leased,
        lease_name: Some(name.to_owned()),
        client_name: Some(client.to_owned()),
        ..StatusResponse::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_sends_nonsense() {
    let rig = Rig::start(Lab::start(), "");
    let long = "x".repeat(100_000);
    let none = StatusResponse {
        leased: true,
        ..StatusResponse::default()
    };
    for message in [
        none,
        says(true, "", "bench"),
        says(true, &long, ""),
        says(true, "a", &long),
    ] {
        rig.lab.push_status("rig", message);
    }
    rig.daemon.expect_line("warning", |line| {
        line.contains("a lease without a usable name; nothing is done for it")
            && line.contains("client_bytes=100000")
    });
    // A name is a name. Nobody listens for it at the controller, and its end is one.
    rig.lab
        .push_status("rig", says(true, "../../\u{1b}[2Jevil\nlease", "\u{7}"));
    rig.until("strange lease", |it| {
        it["lease"]["name"] == "../../\u{1b}[2Jevil\nlease"
    });
    rig.lab
        .push_status("rig", says(false, "a contradiction", ""));
    let free = |heard: &[Heard]| reported(heard, "rig", Available);
    rig.lab.wait(LIMIT, free);
    rig.until("end of it", |it| it["lease"].is_null());

    let lease = rig.lease();
    for n in 0..200 {
        rig.lab.push_status("rig", says(true, "", &n.to_string()));
    }
    let (router, token) = (rig.lab.router_endpoint(), rig.lab.router_token(&lease));
    let push = |endpoint: &str, token: &str| {
        let end = Instant::now() + LIMIT;
        while !rig.lab.push_listen(&lease, endpoint, token) {
            assert!(Instant::now() < end, "nobody takes dials");
            std::thread::yield_now();
        }
    };
    for endpoint in [
        "",
        "router",
        "https://router/",
        "[::1",
        "router:99999",
        "\u{1b}[2J:1",
        &long,
    ] {
        push(endpoint, &token);
    }
    for token in ["", "a\nb", "\u{fc}", &long] {
        push(&router, token);
    }
    push(&router, "somebody else's");
    for word in [
        "the router's address cannot be read",
        "its token is empty or has characters that no header carries",
    ] {
        rig.daemon.expect_line(word, |line| line.contains(word));
    }
    rig.connect(&lease).await.switch_on().await;
    rig.until("end of what is not served", |it| it["link"]["tunnels"] == 0);
    rig.lab.end_lease(&lease);
    rig.is_free();
    rig.is_leasable().await;
    let output = rig.daemon.output.text();
    assert!(
        !output.contains('\u{1b}'),
        "a terminal is played with:\n{output}"
    );
    let longest = output.lines().map(str::len).max();
    assert!(longest < Some(8192), "a line of {longest:?} bytes");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_never_pairs() {
    /// More than a lease may have.
    const DIALS: usize = 140;
    let rig = Rig::start(Lab::start(), "");
    let lease = rig.lease();
    rig.lab.pair(false);
    let waiting = rig.lab.raw_tunnel(&lease);
    rig.lab.wait(LIMIT, |heard| {
        heard
            .iter()
            .filter(|it| matches!(it.what, What::RouterOpened { .. }))
            .count()
            == 2
    });
    // It is in nobody's way.
    rig.lab.pair(true);
    rig.connect(&lease).await.switch_on().await;
    rig.lab.pair(false);
    let router = rig.lab.router_endpoint();
    let end = Instant::now() + LIMIT;
    for _ in 0..DIALS {
        let token = rig.lab.router_token(&lease);
        while !rig.lab.push_listen(&lease, &router, &token) {
            assert!(Instant::now() < end, "nobody takes dials");
            std::thread::yield_now();
        }
    }
    rig.daemon.expect_line("bound", |line| {
        line.contains("the lease has as many as it may")
    });
    assert!(rig.status()["link"]["tunnels"].as_u64() <= Some(128));
    rig.lab.end_lease(&lease);
    rig.is_free();
    rig.until("end of all tunnels", |it| it["link"]["tunnels"] == 0);
    drop(waiting);
    rig.lab.pair(true);
    rig.is_leasable().await;
    rig.finish();
}

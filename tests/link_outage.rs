//! What a lease and its clients notice when the controller, the router or the way to them is gone
//! for a while: nothing, as far as it is not their own way.

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
    time::{Duration, Instant},
};

use lab::{Heard, Lab, Memory, Part, What, reported, story};
use link::{Client, EXPORT, LIMIT, Rig, command, echo::Echo, private_mounts, wrapped, write};
use rigd_client::Code;
use rigd_proto::v1::ExporterStatus::Available;
use support::{daemon::Daemon, settings::Settings};

/// What is gone for that long may need the longest wait of the back-off until it is found again.
const GONE: Duration = Duration::from_secs(90);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often that was heard, whether it was refused or not.
fn count(heard: &[Heard], what: impl Fn(&What) -> bool) -> usize {
    heard.iter().filter(|it| what(&it.what)).count()
}

fn registrations(heard: &[Heard]) -> usize {
    count(heard, |it| matches!(it, What::Register { .. }))
}

fn listens(heard: &[Heard]) -> usize {
    count(heard, |it| matches!(it, What::Listen { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_goes_on_while_the_controller_is_away_for_90_s() {
    let hooks = "hooks: {afterLease: {script: 'sleep 1; touch @DIR@/after'}}\n";
    let rig = Rig::start(Lab::start_with_router_port(), hooks);
    let lease = rig.lease();
    let client = rig.connect(&lease).await;
    let mut console = Echo::open(&client).await;
    console.flows().await;

    rig.lab.stop(Part::Controller);
    let back = Instant::now() + GONE;
    let told = story(&rig.lab.heard(), "rig").len();
    rig.daemon.expect_line("word of the outage", |line| {
        line.contains("WARN") && line.contains("No connection to the controller")
    });
    let shown = rig.until("reason", |it| {
        let detail = it["link"]["detail"].as_str().unwrap();
        it["link"]["connected"] == false && detail.contains("nothing listens there")
    });
    assert_eq!(shown["lease"]["name"], lease.as_str());
    assert_eq!(shown["state"], "leased");
    console.flows_until(back - Duration::from_secs(10)).await;
    client.switch_on().await;

    // What happens meanwhile does so in full, and is told afterwards.
    assert!(client.end_session().await.unwrap().accepted);
    rig.until_there("after");
    tokio::time::sleep_until(back.into()).await;
    assert_eq!(story(&rig.lab.heard(), "rig").len(), told);
    rig.lab.restart(Part::Controller, Memory::Kept);
    let heard = rig.lab.wait(LIMIT + LONGEST_WAIT, |heard| {
        reported(heard, "rig", Available) && registrations(heard) == 2
    });
    let story = &story(&heard, "rig")[told..];
    let place = |word: &str| {
        let found = story.iter().position(|it| it == word);
        found.unwrap_or_else(|| panic!("no {word:?}: {story:?}"))
    };
    // Each way finds the controller by itself: states that were over when it was back may be left out.
    let free = place("Exporter available after lease release");
    assert!(place("release") < free, "{story:?}");
    rig.until("connection", |it| it["link"]["connected"] == true);
    assert!(
        rig.daemon
            .output
            .text()
            .contains("Connected to the controller again.")
    );
    assert_eq!(rig.lab.lease_of("rig"), None);
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_gone_costs_its_own_tunnels_only() {
    let (lab, elsewhere) = (Lab::start_with_router_port(), Lab::start());
    let settings = Settings::new();
    let other = settings.path("other.yaml");
    fs::write(&other, elsewhere.exporter_yaml("other", EXPORT)).unwrap();
    let yaml = lab.exporter_yaml("rig", EXPORT);
    let mut command = command(&settings, &write(&settings, &yaml));
    command.arg(other);
    let rig = Rig::serve_by(lab, settings, command);
    rig.is_free();
    elsewhere.wait(LIMIT, |heard| reported(heard, "other", Available));
    let others = elsewhere.lease("other", "neighbour");
    let neighbour = Client::dial(&elsewhere, &others).await;
    let mut undisturbed = Echo::open(&neighbour).await;
    undisturbed.flows().await;

    let lease = rig.lease();
    let client = rig.connect(&lease).await;
    let mut console = Echo::open(&client).await;
    console.flows().await;
    rig.lab.stop(Part::Router);
    console.breaks(LIMIT).await;
    let router = rig.lab.router_endpoint();
    let token = rig.lab.router_token(&lease);
    assert!(rig.lab.push_listen(&lease, &router, &token));
    rig.daemon.expect_line("failed attempt", |line| {
        line.contains("Trying to reach the router again") && line.contains("nothing listens there")
    });
    undisturbed.flows().await;
    let shown = rig.until("lease", |it| it["name"] == "rig");
    assert_eq!(shown["link"]["connected"], true, "{shown}");
    // It is given up when its client has given up too.
    rig.daemon
        .output
        .wait(LIMIT, |line| line.contains("Cannot open a tunnel"))
        .unwrap();
    undisturbed.flows().await;

    rig.lab.restart(Part::Router, Memory::Kept);
    let again = rig.connect(&lease).await;
    again.switch_on().await;
    let heard = rig.lab.heard();
    assert_eq!((registrations(&heard), listens(&heard)), (1, 1));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_does_not_resolve_is_told_and_looked_up_again_and_again() {
    const NAME: &str = "controller.invalid";
    let (lab, settings) = (Lab::start_with_router_port(), Settings::new());
    // A host whose names are what the test writes: no name server answers, and nobody else sees it.
    let hosts = settings.path("hosts");
    let name = |known: bool| {
        let line = if known { NAME } else { "somebody" };
        // In place, since it is mounted.
        fs::write(&hosts, format!("127.0.0.1 localhost\n127.0.0.1 {line}\n")).unwrap();
    };
    name(false);
    fs::write(settings.path("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let mount = "mount --bind \"$1/hosts\" /etc/hosts && \
                 mount --bind \"$1/resolv.conf\" /etc/resolv.conf && shift && exec \"$@\"";
    let dir = settings.path("");
    let Some(wrapper) = private_mounts(mount, &dir) else {
        return;
    };
    let endpoint = format!("{NAME}:{}", lab.port());
    let yaml = lab
        .exporter_yaml("rig", EXPORT)
        .replace(&lab.endpoint(), &endpoint)
        + "grpcOptions: {grpc.ssl_target_name_override: localhost}\n";
    let command = command(&settings, &write(&settings, &yaml));
    let rig = Rig::serve_by(lab, settings, wrapped(&wrapper, &command));
    let unknown = format!("cannot look up {endpoint}: the name `{NAME}` is not known");
    rig.daemon.expect_line("warning", |line| {
        line.contains("WARN") && line.contains(&unknown)
    });
    rig.daemon.expect_line("second attempt", |line| {
        line.contains("Still no connection")
    });
    assert!(rig.until_cut_off().starts_with(&unknown));
    name(true);
    rig.is_free();

    // Later the connection is lost, and with it the name.
    let lease = rig.lease();
    let client = rig.connect(&lease).await;
    let mut console = Echo::open(&client).await;
    name(false);
    assert!(rig.lab.cut(Part::Controller) > 0);
    rig.until("lost name", |it| {
        let detail = it["link"]["detail"].as_str();
        detail.is_some_and(|text| text.starts_with(&unknown))
    });
    console.flows().await;
    name(true);
    rig.until("connection", |it| it["link"]["connected"] == true);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanished_without_a_word_is_noticed() {
    let lab = Lab::start_with_router_port();
    let options = "grpcOptions: {grpc.keepalive_time_ms: 1000, grpc.keepalive_timeout_ms: 1000}\n";
    let rig = Rig::start(lab, options);
    let lease = rig.lease();
    let client = rig.connect(&lease).await;
    let mut console = Echo::open(&client).await;
    console.flows().await;

    rig.lab.freeze(Part::Controller, true);
    let text = rig.until_cut_off();
    assert!(text.ends_with("or pings got no answer"), "{text}");
    console.flows().await;
    rig.lab.freeze(Part::Controller, false);
    rig.until("connection", |it| it["link"]["connected"] == true);
    console.flows().await;

    // A tunnel's connection is looked after as well: it does not stay for ever.
    rig.lab.freeze(Part::Router, true);
    rig.until("end of the tunnels", |it| it["link"]["tunnels"] == 0);
    rig.lab.freeze(Part::Router, false);
    rig.connect(&lease).await.switch_on().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_has_forgotten_all_is_told_again_and_the_lease_ends() {
    let hooks = "hooks: {afterLease: {script: 'echo $LEASE_NAME >> @DIR@/after'}}\n";
    let rig = Rig::start(Lab::start_with_router_port(), hooks);
    let lease = rig.lease();
    let client = rig.connect(&lease).await;
    let console = Echo::open(&client).await;
    client.switch_on().await;
    let before = rig.lab.heard().len();
    rig.lab.restart(Part::Controller, Memory::Empty);
    rig.lab
        .wait(LIMIT, |heard| reported(&heard[before..], "rig", Available));
    console.breaks(LIMIT).await;
    let heard = rig.lab.heard();
    let story = story(&heard[before..], "rig");
    assert!(
        story.contains(&"Running afterLease hooks".to_owned()),
        "{story:?}"
    );
    // There is nothing to give back, and nobody to listen for.
    assert!(!story.contains(&"release".to_owned()), "{story:?}");
    let reports = heard[before..].iter().find_map(|it| match &it.what {
        What::Register { reports, .. } => Some(reports.len()),
        _ => None,
    });
    assert_eq!(reports, Some(3), "the root and two instances");
    let ran = fs::read_to_string(rig.settings.path("after")).unwrap();
    assert_eq!(ran, format!("{lease}\n"));
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_before_the_controller_registers_when_it_is_there() {
    let lab = Lab::start();
    lab.stop(Part::Both);
    let yaml = lab.exporter_yaml("rig", EXPORT);
    let rig = Rig::serve(lab, &yaml);
    let refused = "nothing listens there; is the server running, and is this its port?";
    rig.daemon.expect_line("warning", |line| {
        line.contains("WARN") && line.contains(refused)
    });
    rig.daemon.expect_line("second attempt", |line| {
        line.contains("Still no connection")
    });
    let text = rig.until_cut_off();
    assert!(text.contains(refused), "{text}");
    assert_eq!(rig.status()["state"], "offline");
    rig.lab.restart(Part::Both, Memory::Kept);
    rig.is_free();
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_stream_that_keeps_ending_is_opened_ever_more_slowly() {
    const ENDS: [(Code, &str); 5] = [
        (Code::Ok, ""),
        (Code::Unavailable, "draining"),
        (Code::Internal, "etcdserver: request timed out"),
        (Code::Ok, ""),
        (Code::ResourceExhausted, "slow down"),
    ];
    let rig = Rig::start(Lab::start(), "");
    let lease = rig.lease();
    let client = rig.connect(&lease).await;
    let mut console = Echo::open(&client).await;
    let opened = |heard: &[Heard]| count(heard, |it| *it == What::StatusOpened);
    let began = Instant::now();
    for (number, (code, text)) in ENDS.into_iter().enumerate() {
        rig.lab.end_status("rig", code, text);
        if !text.is_empty() {
            rig.daemon.expect_line(text, |line| line.contains(text));
        }
        rig.lab.wait(LIMIT, |heard| opened(heard) == number + 2);
        console.flows().await;
    }
    // Half a second each at least, whatever chance says.
    assert!(began.elapsed() > ENDS.len() as u32 * Duration::from_millis(500));
    let heard = rig.lab.heard();
    assert_eq!(
        (registrations(&heard), listens(&heard)),
        (ENDS.len() + 1, 1)
    );
    assert_eq!(rig.lab.lease_of("rig"), Some(lease));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_with_one_name_do_not_fight() {
    const WATCHED: Duration = Duration::from_secs(15);
    /// What may come until both have seen that it is no accident.
    const FIRST: usize = 8;
    let rig = Rig::start(Lab::start(), "");
    let settings = Settings::new();
    let file = write(&settings, &rig.lab.exporter_yaml("rig", EXPORT));
    let mut second = Daemon::serve_by(command(&settings, &file), &settings);
    rig.lab.wait(LIMIT, |heard| registrations(heard) == 2);
    let begun = Instant::now();
    let lease = rig.lab.lease("rig", "bench");
    let detected = |line: &str| {
        line.contains("ERROR")
            && line.contains("as exporter rig: it seems to run twice. Stop one of them.")
    };
    rig.daemon.output.wait(LIMIT, detected).expect("it is told");
    let shown = rig.ask(&["status"]);
    assert!(
        shown.contains("another daemon runs as this exporter: it took our place"),
        "{shown}"
    );
    // Whoever listens at the moment serves; the tunnels of the other one stay.
    let client = rig.connect(&lease).await;
    Echo::open(&client).await.flows_until(begun + WATCHED).await;
    let heard = rig.lab.heard();
    let limit = FIRST + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(listens(&heard) <= limit, "{}", lab::listing(&heard));
    second.stop_cleanly();
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_replaced_during_an_outage_counts_afterwards() {
    let (lab, settings) = (Lab::start(), Settings::new());
    let token = lab.exporter_token("rig");
    let yaml = lab.exporter_yaml("rig", EXPORT);
    let yaml = yaml.replace(&format!("token: {token}"), "tokenFile: @DIR@/token");
    fs::write(settings.path("token"), format!("{token}\n")).unwrap();
    let command = command(&settings, &write(&settings, &yaml));
    let rig = Rig::serve_by(lab, settings, command);
    rig.is_free();
    let lease = rig.lease();
    rig.lab.stop(Part::Both);
    rig.until_cut_off();
    let renewed = rig.lab.rotate_token("rig");
    assert_ne!(renewed, token);
    fs::write(rig.settings.path("token"), renewed).unwrap();
    rig.lab.restart(Part::Both, Memory::Kept);
    rig.lab.wait(LIMIT, |heard| registrations(heard) == 2);
    rig.until("connection", |it| it["link"]["connected"] == true);
    rig.connect(&lease).await.switch_on().await;
    rig.finish();
}

//! The life of the embedded controller: with the exporters of its process, over reloads, restarts
//! and deaths.
//!
//! | case | test |
//! |---|---|
//! | two boards of one daemon, leased independently; one with `listen` is in no list | `boards_of_one_daemon_are_leased_independently` |
//! | a hold is told to those who wait, and its end gives the board out at once | `a_hold_is_told_and_its_end_gives_the_board_out` |
//! | a reason that one of both could not keep holds nothing | `a_reason_that_is_too_long_holds_nothing` |
//! | the token of an own exporter is rotated | `a_rotated_token_disturbs_no_exporter_of_this_process` |
//! | the lab's own client is not deleted, and its file follows its token | `the_own_client_is_kept_and_its_file_with_it` |
//! | an exporter whose file is served here is not deleted | `a_board_that_is_served_here_is_not_deleted` |
//! | the port of before, in use | `the_port_of_before_is_kept_and_the_next_free_one_told` |
//! | an advertised name: endpoint, certificate, and exporters that reach it without resolving it | `an_advertised_name_is_handed_out_and_certified` |
//! | health | `health_needs_no_token` |
//! | a file that is new, changed or gone; by signal and by command | `reload::files_come_change_and_go` |
//! | a leased board whose file is gone, or has other labels | `reload::a_leased_board_stays_until_its_lease_ends` |
//! | a board that is no longer leased here | `reload::a_board_that_gets_a_socket_leaves_the_lab` |
//! | a board that had a socket comes while another goes | `reload::a_board_that_comes_from_a_socket_is_not_forgotten_for_one_that_goes` |
//! | a file with the name of a board of another host | `reload::a_file_does_not_take_over_a_board_of_another_host` |
//! | a file with a mistake | `reload::a_mistake_changes_nothing_in_the_lab` |
//! | the first board without an endpoint comes while the daemon runs | `reload::the_controller_starts_with_the_first_board_that_needs_it` |
//! | restart: identities, tokens, leases | `restart::all_that_was_given_out_is_good_after_a_restart` |
//! | killed and started again | `restart::a_killed_daemon_goes_on_with_its_leases` |
//! | a board of another process, killed and started again | `restart::a_lease_goes_on_when_its_exporter_is_killed_and_started_again` |
//! | stopped while leased: afterLease runs, the controller ends last | `restart::a_stop_ends_the_session_before_the_controller` |
//! | stopped while idle, with clients connected | `restart::an_idle_daemon_stops_at_once` |
//! | idle leases | in the crate, `schedule::tests::ends`: the shortest limit is a minute |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod embedded;
mod support;

#[path = "embedded_life/reload.rs"]
mod reload;
#[path = "embedded_life/restart.rs"]
mod restart;

use std::net::TcpListener;

use embedded::{
    Site,
    caller::{Caller, Credentials, condition, is_ready},
};
use support::daemon::Daemon;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_of_one_daemon_are_leased_independently() {
    let site = Site::with_board();
    site.exporter("qemu", "labels: {board: qemu, rack: '7'}\n");
    site.exporter(
        "own",
        "labels: {board: rpi4}\nlisten: {unix: @DIR@/own.sock}\n",
    );
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["qemu", "rpi4"]).await;
    ci.sees("board=rpi4", &["rpi4"]).await;
    ci.sees("board in (rpi4,qemu),rack", &["qemu"]).await;
    let other = site.client("other").await;
    let (one, two) = (ci.lease("board=rpi4").await, other.lease("rack=7").await);
    assert_eq!(
        (ci.held(&one).await, other.held(&two).await),
        ("rpi4".into(), "qemu".into())
    );
    ci.uses(&one).await;
    other.uses(&two).await;
    let waits = other.ask("board=rpi4").await;
    ci.release(&one).await.unwrap();
    assert_eq!(other.held(&waits).await, "rpi4");
    other.uses(&two).await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_told_and_its_end_gives_the_board_out() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let held = ci.lease("board=rpi4").await;
    site.ok(&["hold", "rpi4", "--reason", "new relay"]);
    // What is leased stays so.
    assert!(is_ready(&ci.get(&held).await.unwrap()));
    ci.uses(&held).await;
    ci.release(&held).await.unwrap();
    let waits = ci.ask("board=rpi4").await;
    let told = |lease: &_| {
        condition(lease, "Pending").is_some_and(|(_, _, text)| text.ends_with("on hold: new relay"))
    };
    ci.until(&waits, "it is told why it waits", told).await;
    // Also over a restart.
    daemon.stop_cleanly();
    let mut daemon = site.run();
    let ci = site.known("ci").await;
    ci.until(&waits, "it is told why it waits", told).await;
    site.ok(&["unhold", "rpi4"]);
    assert_eq!(ci.held(&waits).await, "rpi4");
    ci.uses(&waits).await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_that_is_too_long_holds_nothing() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let long = "x".repeat(201);
    site.rigd(&["hold", "rpi4", "--reason", &long])
        .refused(1, &["1 to 200 characters"]);
    assert!(!site.ok(&["status"]).contains("xxx"));
    ci.sees("", &["rpi4"]).await;
    ci.lease("board=rpi4").await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_token_disturbs_no_exporter_of_this_process() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    ci.uses(&lease).await;
    let file = site.home("rpi4.yaml");
    site.ok(&[
        "controller",
        "rotate",
        "exporter",
        "rpi4",
        "--out",
        file.to_str().unwrap(),
    ]);
    ci.uses(&lease).await;
    ci.release(&lease).await.unwrap();
    ci.sees("", &["rpi4"]).await;
    let again = ci.lease("board=rpi4").await;
    ci.uses(&again).await;
    let text = daemon.output.text();
    assert!(!text.contains("ERROR"), "{text}");
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_client_is_kept_and_its_file_with_it() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let delete = ["controller", "delete", "client", "default"];
    site.rigd(&delete).refused(1, &["default is the lab's own"]);
    let file = site.own_client();
    let before = Caller::connect(Credentials::read(&file)).await.unwrap();
    before.sees("", &["rpi4"]).await;
    let rotate = "controller rotate client default --out";
    let out = site.home("new.yaml");
    let rotate: Vec<_> = rotate.split(' ').chain(out.to_str()).collect();
    site.ok(&rotate);
    let refused = before.exporters("").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unknown, "{refused}");
    let now = Caller::connect(Credentials::read(&file)).await.unwrap();
    now.sees("", &["rpi4"]).await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_is_served_here_is_not_deleted() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    let delete = ["controller", "delete", "exporter", "rpi4"];
    let words = [
        "exporter default/rpi4 is served by this daemon",
        "rigd reload",
    ];
    site.rigd(&delete).refused(1, &words);
    ci.uses(&lease).await;
    // One that somebody else serves is.
    let out = site.home("far.yaml");
    let create = [
        "controller",
        "create",
        "exporter",
        "far",
        "-l",
        "board=far",
        "--out",
    ];
    site.ok(&[&create[..], &[out.to_str().unwrap()]].concat());
    site.ok(&["controller", "delete", "exporter", "far"]);
    assert_eq!(ci.names("").await, ["rpi4"]);
    // As the refusal says.
    ci.release(&lease).await.unwrap();
    std::fs::remove_file(site.file("rpi4")).unwrap();
    site.exporter("other", "labels: {board: other}\n");
    site.ok(&["reload"]);
    ci.sees("", &["other"]).await;
    // Without the daemon there is nobody who serves it.
    daemon.stop_cleanly();
    site.ok(&["controller", "delete", "exporter", "other"]);
    assert_eq!(site.ok(&["get", "exporters"]), "No resources found.\n");
}

/// A listener that has the port of a daemon which ran before.
fn occupied(site: &Site) -> (TcpListener, String) {
    let text = std::fs::read_to_string(site.state().join("endpoint")).unwrap();
    let endpoint = text.trim().to_owned();
    (TcpListener::bind(&endpoint).unwrap(), endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_of_before_is_kept_and_the_next_free_one_told() {
    let site = Site::with_board();
    site.run().stop_cleanly();
    let start = || Daemon::serve_by(site.run_command(&[]), &site.settings);
    let mut daemon = start();
    let ci = site.client("ci").await;
    assert_eq!(ci.who.endpoint, site.address());
    ci.sees("", &["rpi4"]).await;
    daemon.stop_cleanly();

    let (other, endpoint) = occupied(&site);
    let mut daemon = start();
    let line = daemon.expect_line("address", |line| {
        line.contains("The embedded controller serves.")
    });
    assert!(!line.contains(&endpoint), "{line}");
    daemon.expect_line("warning", |line| {
        line.contains("WARN")
            && line.contains("The port of before is in use: files that were handed out name it")
            && line.contains(&format!("port={}", site.settings.port))
    });
    // The line to paste leads to the new one, and so do new files.
    let own = site.settings.path("state/client/clients/default.yaml");
    let own = Credentials::read(&own);
    assert_ne!(own.endpoint, endpoint);
    assert!(line.contains(&own.endpoint), "{line}");
    let own = Caller::connect(own).await.unwrap();
    own.sees("", &["rpi4"]).await;
    assert_eq!(site.client("later").await.who.endpoint, own.who.endpoint);
    daemon.stop_cleanly();
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advertised_name_is_handed_out_and_certified() {
    let site = Site::with_board();
    // Names below `.invalid` resolve nowhere (RFC 2606).
    let mut daemon = site.run_with(&[
        "--advertise",
        "lab.invalid",
        "--advertise",
        "second.invalid",
    ]);
    daemon.expect_line("warning", |line| {
        line.contains("WARN")
            && line.contains("does not resolve here")
            && line.contains("lab.invalid")
            && line.contains("--advertise NAME")
    });
    let file = site.create_client("ci");
    let who = Credentials::read(&file);
    assert_eq!(who.endpoint, format!("lab.invalid:{}", site.settings.port));
    let connect = async |name: &str| {
        let endpoint = format!("{name}:{}", site.settings.port);
        let who = Credentials {
            endpoint,
            ..who.clone()
        };
        let channel = who.connect_at(&site.address()).await?;
        Ok::<_, tonic::transport::Error>(Caller { who, channel })
    };
    for name in ["lab.invalid", "second.invalid", "localhost", "127.0.0.1"] {
        let ci = connect(name).await.unwrap();
        // The exporter of this process is there although it cannot resolve the name.
        ci.sees("", &["rpi4"]).await;
    }
    assert!(
        connect("other.invalid").await.is_err(),
        "any name is certified"
    );
    let ci = connect("lab.invalid").await.unwrap();
    let lease = ci.lease("board=rpi4").await;
    let told = ci.dial_in_time(&lease).await.unwrap();
    assert_eq!(told.router_endpoint, who.endpoint);
    ci.uses(&lease).await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_needs_no_token() {
    let site = Site::new();
    let mut daemon = site.controller(&[]);
    let who = Credentials::read(&site.settings.path("state/client/clients/default.yaml"));
    let mut health = HealthClient::new(who.connect_at(&who.endpoint).await.unwrap());
    for service in [
        "",
        "jumpstarter.v1.ControllerService",
        "jumpstarter.client.v1.ClientService",
    ] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);
    let stopped = tokio::task::spawn_blocking(move || daemon.stop_cleanly());
    assert_eq!(next().await, ServingStatus::NotServing);
    stopped.await.unwrap();
}

//! The end of the daemon, and what is there afterwards.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    embedded::{
        Site,
        caller::{Caller, Credentials, is_ready},
    },
    support::daemon::Daemon,
};

/// A daemon with directories of its own, that serves `far` for the lab of `site`.
fn far(site: &Site, host: &Site) -> Command {
    let file = host.settings.path("far.yaml");
    if !file.exists() {
        let create = [
            "controller",
            "create",
            "exporter",
            "far",
            "-l",
            "board=far",
            "--out",
        ];
        site.ok(&[&create[..], &[file.to_str().unwrap()]].concat());
        let text = fs::read_to_string(&file).unwrap();
        let export = "export: {power: {type: power.mock}}";
        fs::write(&file, text.replace("export: {}", export)).unwrap();
    }
    host.command(&["run", file.to_str().unwrap()])
}

/// A board that is leased, a wish that waits for it, and a lease of a board on another host.
struct Busy {
    site: Site,
    _host: Site,
    held: String,
    waits: String,
    far: String,
    inventory: Vec<String>,
}

impl Busy {
    async fn start() -> (Self, Daemon, Daemon) {
        let (site, host) = (Site::with_board(), Site::new());
        let daemon = site.run();
        let away = Daemon::serve_by(far(&site, &host), &host.settings);
        let (ci, other) = (site.client("ci").await, site.client("other").await);
        ci.sees("", &["far", "rpi4"]).await;
        let held = ci.lease("board=rpi4").await;
        ci.uses(&held).await;
        let waits = other.ask("board=rpi4").await;
        let far = other.lease("board=far").await;
        other.uses(&far).await;
        let inventory = site.inventory();
        assert_eq!(inventory.len(), 8, "{inventory:?}");
        let busy = Self {
            site,
            _host: host,
            held,
            waits,
            far,
            inventory,
        };
        (busy, daemon, away)
    }

    /// What was leased elsewhere is in use, and what waited is next, with the tokens of before.
    async fn goes_on(&self, mut daemon: Daemon, mut away: Daemon) {
        let (ci, other) = (self.site.known("ci").await, self.site.known("other").await);
        assert!(is_ready(&other.get(&self.far).await.unwrap()));
        other.uses(&self.far).await;
        if is_ready(&ci.get(&self.held).await.unwrap()) {
            ci.uses(&self.held).await;
            ci.release(&self.held).await.unwrap();
        }
        assert_eq!(other.held(&self.waits).await, "rpi4");
        other.uses(&self.waits).await;
        away.stop_cleanly();
        daemon.stop_cleanly();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_given_out_is_good_after_a_restart() {
    let (busy, mut daemon, away) = Busy::start().await;
    let own = busy.site.settings.path("state/client/clients/default.yaml");
    let before = fs::read_to_string(&own).unwrap();
    daemon.stop_cleanly();
    // A board that goes gives its lease back, as with any controller; nothing else has changed.
    let (open, over) = (
        format!("{0}\" false", busy.held),
        format!("{0}\" true", busy.held),
    );
    let wanted: Vec<_> = busy
        .inventory
        .iter()
        .map(|it| it.replace(&open, &over))
        .collect();
    assert_ne!(wanted, busy.inventory);
    assert_eq!(busy.site.inventory(), wanted);
    let daemon = busy.site.run();
    assert_eq!(busy.site.inventory(), wanted);
    assert_eq!(
        fs::read_to_string(&own).unwrap(),
        before,
        "the token to paste has changed"
    );
    busy.goes_on(daemon, away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_goes_on_with_its_leases() {
    let (busy, mut daemon, away) = Busy::start().await;
    daemon.kill();
    let daemon = busy.site.run();
    assert_eq!(busy.site.inventory(), busy.inventory);
    let ci = busy.site.known("ci").await;
    assert!(is_ready(&ci.get(&busy.held).await.unwrap()));
    ci.uses(&busy.held).await;
    busy.goes_on(daemon, away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_goes_on_when_its_exporter_is_killed_and_started_again() {
    let (site, host) = (Site::new(), Site::new());
    let mut controller = site.controller(&[]);
    let mut exporter = Daemon::serve_by(far(&site, &host), &host.settings);
    let ci = site.client("ci").await;
    ci.sees("", &["far"]).await;
    let lease = ci.lease("board=far").await;
    ci.uses(&lease).await;
    exporter.kill();
    exporter = Daemon::serve_by(far(&site, &host), &host.settings);
    ci.uses(&lease).await;
    assert!(is_ready(&ci.get(&lease).await.unwrap()));
    ci.release(&lease).await.unwrap();
    ci.sees("", &["far"]).await;
    // The other way round: the exporter finds a controller that was killed.
    let lease = ci.lease("board=far").await;
    controller.kill();
    controller = site.controller(&[]);
    let ci = site.known("ci").await;
    ci.uses(&lease).await;
    exporter.stop_cleanly();
    controller.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_session_before_the_controller() {
    let site = Site::new();
    let hooks = "labels: {board: rpi4}\n\
                 hooks: {afterLease: {script: 'echo after $LEASE_NAME >> @DIR@/trace'}}\n";
    site.exporter("rpi4", hooks);
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    let door = ci.open(&lease).await;
    door.exporter
        .device("power")
        .await
        .unwrap()
        .power()
        .on()
        .await
        .unwrap();
    daemon.stop_cleanly();
    let trace = fs::read_to_string(site.settings.path("trace")).unwrap();
    assert_eq!(trace, format!("after {lease}\n"));
    // The exporter could sign off: the controller was there to the last.
    let text = daemon.output.text();
    assert!(!text.contains("WARN") && !text.contains("ERROR"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_daemon_stops_at_once() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    ci.release(&lease).await.unwrap();
    ci.sees("", &["rpi4"]).await;
    let who = Credentials::read(&site.settings.path("state/client/clients/default.yaml"));
    let _another = Caller::connect(who).await.unwrap();
    let begun = Instant::now();
    daemon.stop_cleanly();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let text = daemon.output.text();
    assert!(!text.contains("WARN") && !text.contains("ERROR"), "{text}");
}

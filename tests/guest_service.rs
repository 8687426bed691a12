//! `systemd/` in a guest with systemd as process 1: installed as `docs/service.md` says, the service runs
//! as its user, may open the hardware that the rules give it and no other, serves clients on the host,
//! runs hooks with `j`, is reloaded, and is started again when one of its threads hangs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

#[path = "guest_service/card.rs"]
mod card;
#[path = "guest/cards.rs"]
mod cards;
#[path = "guest/rig.rs"]
mod rig;
mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rig::{Guest, Hardware};
use rigd_client::{ConnectOptions, Exporter};
use serde_json::{Value, json};
use support::{
    jmp::Python,
    python::{Venv, venv},
    repository,
    settings::free_port,
};
use tempfile::TempDir;

const GPIO: &[&str] = &["relays=relay1,relay2,fan"];
const USB: &[&str] = &[
    "console=ftdi,serial=FT1",
    "noyito=noyito,bus=0",
    "ykush=ykush,bus=0,serial=YK1",
    "board=hid-relay,bus=0",
    "sdwire=sdwire,size=16M,serial=SD1,bus=1",
    "stick=disk,size=16M,bus=0",
];
/// Short, and yet more than the service needs on a busy emulated processor.
const WATCHDOG: &str = "12";
/// Until the watchdog has ended it, systemd has waited its pause, and it serves again.
const BACK_LIMIT: Duration = Duration::from_secs(150);
/// `j` in the guest: 15 s, and four times that where others compile.
const HOOK_LIMIT: Duration = Duration::from_secs(200);
/// What the commands of the document find: the build, and a file of the user's.
const TREE: &str = "/run/tree";

#[tokio::test(flavor = "multi_thread")]
async fn service() {
    let Some(venv) = venv() else { return };
    let controller = free_port();
    let hardware = Hardware {
        gpio: GPIO,
        usb: USB,
        gadget: true,
        ports: &[controller],
        systemd: true,
        ..Hardware::default()
    };
    let Some(mut guest) = Guest::boot(&hardware) else {
        return;
    };
    let stripped = TempDir::new().unwrap();
    put_the_build(&mut guest, stripped.path());
    install_as_documented(&mut guest);
    the_rules_give_nodes_to_their_groups(&mut guest);
    tools_for_hooks(&mut guest, venv);
    a_gadget_for_its_group(&mut guest);
    start_as_documented(&mut guest, controller);
    it_runs_as_its_user(&mut guest);

    let exporter = connect(&guest, BACK_LIMIT).await;
    a_client_on_the_host_switches_the_relay(&mut guest, &exporter).await;
    card::a_card_is_written_and_given_to_the_board(&guest, &exporter).await;
    it_runs_as_its_user(&mut guest);
    the_released_client_does_as_well(&mut guest, venv);
    a_lease_runs_its_hook(&mut guest, venv);
    a_card_stays_at_the_board_over_a_restart(&mut guest, exporter).await;
    a_reload_takes_new_files_or_none(&mut guest).await;
    a_hung_exporter_is_ended_and_comes_back(&mut guest).await;
    let log = guest.run("systemctl stop rigd; journalctl -u rigd -o cat --no-pager");
    assert!(!log.contains("panicked at"), "{log}");
}

/// Lines of the `console` blocks below a heading of the document that are for root.
fn documented(heading: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/service.md")).unwrap();
    let section = text.split(heading).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
    let lines = lines.filter_map(|line| line.strip_prefix("# "));
    lines.map(str::to_owned).collect()
}

/// Where `cargo build --release` would have left it. Without what is for debuggers: it is copied into
/// the guest's memory.
fn put_the_build(guest: &mut Guest, dir: &Path) {
    let small = dir.join("rigd");
    let built = env!("CARGO_BIN_EXE_rigd");
    let made = Command::new("strip")
        .arg("-o")
        .arg(&small)
        .arg(built)
        .status();
    assert!(made.unwrap().success());
    let (small, top) = (small.display(), repository().display());
    guest.run(&format!(
        "mkdir -p {TREE}/target/release; cd {TREE}; cp {small} target/release/rigd; ln -s {top}/systemd systemd"
    ));
}

fn install_as_documented(guest: &mut Guest) {
    let commands = documented("## Install from a build");
    let end = commands.iter().position(|c| c == "systemctl daemon-reload");
    for command in &commands[..=end.unwrap()] {
        guest.run(command);
    }
}

fn the_rules_give_nodes_to_their_groups(guest: &mut Guest) {
    let usb = |name: &str| {
        format!(
            "$(read -r b <$(device {name})/busnum; read -r d <$(device {name})/devnum; printf /dev/bus/usb/%03d/%03d $b $d)"
        )
    };
    for (node, wanted) in [
        ("/dev/gpiochip0".to_owned(), "root gpio 660"),
        ("$(node FT1 'ttyUSB*')".to_owned(), "root dialout 660"),
        (usb("TNOYITO"), "root rigd 660"),
        (usb("YK1"), "root rigd 660"),
        (usb("USBRelay2"), "root rigd 660"),
        (usb("SD1"), "root rigd 660"),
        (
            "$(node TSDWIRE.READER \"$disk\")".to_owned(),
            "root rigd 660",
        ),
        ("$(node TSTICK \"$disk\")".to_owned(), "root disk 660"),
        (usb("TSTICK"), "root root 664"),
        // Relay boards are used through their USB node.
        (
            "$(node TNOYITO '*/hidraw/hidraw*')".to_owned(),
            "root root 600",
        ),
    ] {
        let found = guest.run(&format!("stat -c '%U %G %a' {node}"));
        assert_eq!(found, wanted, "{node}");
    }
    // Set by a rule as well: what it received is passed on at once. Also of one that comes later.
    let console = guest.usb("console");
    let latencies = || console.values("latency", "ms");
    assert_eq!(latencies().last(), Some(&json!(1)));
    let before = latencies().len();
    console.unplug();
    guest.until("! node FT1 'ttyUSB*'");
    console.plug();
    guest.until("node FT1 'ttyUSB*'");
    console.wait("latency of a new one", |_| {
        let set = latencies();
        set.len() > before && set.last() == Some(&json!(1))
    });
}

/// An environment below /opt, as the document recommends for hooks. The one of the tests is where a
/// sandbox cannot see it.
fn tools_for_hooks(guest: &mut Guest, venv: &Venv) {
    let env = venv.bin("..").canonicalize().unwrap();
    let settings = fs::read_to_string(env.join("pyvenv.cfg")).unwrap();
    let setting = |name: &str| {
        let line = settings.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches([' ', '=']).to_owned()
    };
    let base = Path::new(&setting("home")).parent().unwrap().to_owned();
    let version = setting("version")
        .split('.')
        .take(2)
        .collect::<Vec<_>>()
        .join(".");
    let (env, base) = (env.display(), base.display());
    guest.run(&format!(
        "cd /opt; mkdir -p jumpstarter/bin jumpstarter/env jumpstarter/python; \
         mount --bind {env} jumpstarter/env; mount --bind {base} jumpstarter/python"
    ));
    guest.run(&format!(
        "printf '%s\\n' '#!/bin/sh' 'export PYTHONPATH=/opt/jumpstarter/env/lib/python{version}/site-packages' \
         'export PYTHONDONTWRITEBYTECODE=1' 'export LD_LIBRARY_PATH=/opt/jumpstarter/python/lib' \
         'exec /opt/jumpstarter/python/bin/python{version} /opt/jumpstarter/env/bin/j \"$@\"' >jumpstarter/bin/j; \
         chmod 755 jumpstarter/bin/j"
    ));
    let text = fs::read_to_string(repository().join("docs/service.md")).unwrap();
    let path = "Environment=PATH=/opt/jumpstarter/bin:/usr/local/bin:/usr/bin:/bin";
    assert!(text.contains(path), "the document has another PATH");
    drop_in(guest, "hooks", path);
}

/// The blocks of the document about gadgets that are marked so.
fn of_gadgets(mark: &str) -> String {
    let text = fs::read_to_string(repository().join("docs/service.md")).unwrap();
    let section = text.split("### A USB gadget as a card").nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let block = section.split(&format!("```{mark}\n")).nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

fn a_gadget_for_its_group(guest: &mut Guest) {
    let dir = TempDir::new().unwrap();
    for (mark, to, mode) in [
        ("sh", "/usr/local/sbin/rigd-gadget", "0755"),
        ("systemd", "/etc/systemd/system/rigd-gadget.service", "0644"),
        (
            "ini",
            "/etc/systemd/system/rigd.service.d/gadget.conf",
            "0644",
        ),
    ] {
        let file = dir.path().join(mark);
        fs::write(&file, of_gadgets(mark)).unwrap();
        guest.run(&format!("install -D -m {mode} {} {to}", file.display()));
    }
    guest.run("systemctl daemon-reload; systemctl enable --now rigd-gadget");
}

/// Of a service, which has mounts of its own and is not root.
async fn a_card_stays_at_the_board_over_a_restart(guest: &mut Guest, exporter: Exporter) {
    let lun = "/sys/kernel/config/usb_gadget/rigd0/functions/mass_storage.rigd/lun.0";
    call(&exporter, "card", "dut").await;
    guest.until(
        "card=$(node RIGD0 \"$disk\") && exec 7<$card && grep -qx 0 /sys/block/${card##*/}/ro",
    );
    drop(exporter);
    guest.run("systemctl restart rigd");
    let exporter = connect(guest, BACK_LIMIT).await;
    assert_ne!(guest.run(&format!("cat {lun}/file")), "");
    call(&exporter, "card", "dut").await;
    // The board has it open: it is taken by force.
    call(&exporter, "card", "host").await;
    assert_eq!(guest.run(&format!("exec 7<&-; cat {lun}/file")), "");
    call(&exporter, "card", "dut").await;
    guest.until("exec 7<$card; exec 7<&-");
    call(&exporter, "card", "host").await;
}

fn drop_in(guest: &mut Guest, name: &str, setting: &str) {
    guest.run(&format!(
        "mkdir -p /etc/systemd/system/rigd.service.d; \
         printf '[Service]\\n%s\\n' '{setting}' >/etc/systemd/system/rigd.service.d/{name}.conf; \
         systemctl daemon-reload"
    ));
}

fn start_as_documented(guest: &mut Guest, controller: u16) {
    let exporters = repository().join("tests/guest/exporters");
    let exporters = exporters.display();
    guest.run(&format!("cd {TREE}; cp {exporters}/board-1.yaml ."));
    guest.run(&format!(
        "install -m 0640 -g rigd {exporters}/board-2.yaml -t /etc/rigd/exporters"
    ));
    // docs/lab.md, of a controller for other hosts.
    guest.run(&format!(
        "printf '%s\\n' '[controller]' 'listen = \"0.0.0.0:{controller}\"' 'advertise = [\"127.0.0.1\"]' >/etc/rigd/rigd.toml"
    ));
    let commands = documented("## Install from a build");
    let install = commands
        .iter()
        .position(|c| c == "systemctl daemon-reload")
        .unwrap();
    for command in &commands[install + 1..] {
        guest.run(command);
    }
    let state = guest.run("systemctl show rigd -p ActiveState,SubState,StatusText");
    assert!(
        state.contains("ActiveState=active\nSubState=running"),
        "{state}"
    );
}

fn it_runs_as_its_user(guest: &mut Guest) {
    let status = guest.run(
        "pid=$(systemctl show rigd -p MainPID --value); grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status",
    );
    let uid = guest.run("id -u rigd");
    assert_ne!(uid, "0");
    for wanted in [
        format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"),
        "CapEff:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
    ] {
        assert!(status.contains(&wanted), "{wanted} in {status}");
    }
    let modes = guest.run("stat -c '%U:%G %a' /run/rigd /run/rigd/control.sock /var/lib/rigd");
    assert_eq!(modes, "rigd:rigd 750\nrigd:rigd 660\nrigd:rigd 700");
}

async fn connect(guest: &Guest, limit: Duration) -> Exporter {
    let end = Instant::now() + limit;
    loop {
        let options = ConnectOptions::default();
        if let Ok(exporter) = Exporter::connect_tcp(&guest.address, &options).await
            && exporter.report().await.is_ok()
        {
            return exporter;
        }
        assert!(
            Instant::now() < end,
            "rigd does not serve:\n{}",
            guest.stderr.text()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn call(exporter: &Exporter, device: &str, method: &str) -> Value {
    let device = exporter.device(device).await.unwrap();
    device.call(method, vec![]).await.unwrap()
}

async fn a_client_on_the_host_switches_the_relay(guest: &mut Guest, exporter: &Exporter) {
    call(exporter, "relay", "on").await;
    assert_eq!(guest.run("guest-gpio get relay2"), "1");
    call(exporter, "relay", "off").await;
    assert_eq!(guest.run("guest-gpio get relay2"), "0");
}

/// A board that answers each line.
fn answer(board: UnixStream) {
    let mut write = board.try_clone().unwrap();
    board.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(board).lines().map_while(Result::ok) {
            let said = format!("board: {}\r\n", line.trim_end());
            if write.write_all(said.as_bytes()).is_err() {
                break;
            }
        }
    });
}

fn the_released_client_does_as_well(guest: &mut Guest, venv: &Venv) {
    answer(guest.usb("console").board());
    let home = TempDir::new().unwrap();
    let script = repository().join("tests/guest/service.py");
    let host = [
        ("JUMPSTARTER_HOST", guest.address.as_str()),
        ("JMP_GRPC_INSECURE", "1"),
        ("JMP_DRIVERS_ALLOW", "UNSAFE"),
    ];
    let mut client = Python::start_at(
        venv,
        home.path(),
        "python",
        &[script.to_str().unwrap()],
        &host,
    );
    let said = client.succeeded();
    assert!(said.contains("step: done"), "{said}");
    assert_eq!(guest.run("guest-gpio get relay2"), "1");
    let rates = guest.usb("console").values("baud", "rate");
    assert!(rates.contains(&json!(1_500_000)), "{rates:?}");
}

fn a_lease_runs_its_hook(guest: &mut Guest, venv: &Venv) {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join("clients")).unwrap();
    let file =
        guest.run("cd /run; rigd controller create client bob --out bob.yaml >&2; cat bob.yaml");
    fs::write(home.path().join("clients/bob.yaml"), file).unwrap();
    assert_eq!(guest.run("guest-gpio get relay1"), "0");
    let args = [
        "shell",
        "--client",
        "bob",
        "--selector",
        "board=one",
        "--",
        "j",
        "power",
        "--help",
    ];
    let mut shell = Python::start_at(venv, home.path(), "jmp", &args, &[]);
    // Python takes its time until it has loaded `j`.
    let end = Instant::now() + HOOK_LIMIT;
    while !guest
        .run("guest-gpio wait relay1 1 20 2>&1 || :")
        .is_empty()
    {
        assert!(Instant::now() < end, "{}", shell.output.text());
    }
    let said = shell.succeeded();
    assert!(said.contains("the hook switched on, as rigd"), "{said}");
}

async fn a_reload_takes_new_files_or_none(guest: &mut Guest) {
    let file = "/etc/rigd/exporters/board-2.yaml";
    guest.run(&format!(
        "printf '  fan: {{type: gpio.output, config: {{device: relays, line: fan}}}}\\n' >>{file}; systemctl reload rigd"
    ));
    let exporter = connect(guest, BACK_LIMIT).await;
    call(&exporter, "fan", "on").await;
    assert_eq!(guest.run("guest-gpio get fan"), "1");
    // Of a bad file nothing is taken, and the reload fails.
    guest.run(&format!(
        "cp {file} good; printf 'nonsense' >>{file}; ! systemctl reload rigd"
    ));
    call(&exporter, "fan", "off").await;
    guest.run(&format!(
        "cp good {file}; systemctl reload rigd; systemctl is-active rigd"
    ));
}

async fn a_hung_exporter_is_ended_and_comes_back(guest: &mut Guest) {
    drop_in(guest, "watchdog", &format!("WatchdogSec={WATCHDOG}"));
    guest.run("systemctl restart rigd");
    let exporter = connect(guest, BACK_LIMIT).await;
    call(&exporter, "relay", "on").await;
    drop(exporter);
    // It goes on for longer than that as long as all is well.
    tokio::time::sleep(Duration::from_secs(WATCHDOG.parse::<u64>().unwrap() + 3)).await;
    assert_eq!(guest.run("systemctl show rigd -p NRestarts --value"), "0");
    guest.run(
        "exec 3< <(exec hang-thread $(systemctl show rigd -p MainPID --value) rigd-board-2); read -r word <&3; \
         [[ $word == hung ]]",
    );
    let end = Instant::now() + BACK_LIMIT;
    while guest.run("systemctl show rigd -p NRestarts --value") == "0" {
        assert!(
            Instant::now() < end,
            "{}",
            guest.run("systemctl status rigd")
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let exporter = connect(guest, BACK_LIMIT).await;
    call(&exporter, "relay", "off").await;
    assert_eq!(guest.run("guest-gpio get relay2"), "0");
    let log = guest.run("journalctl -u rigd -o cat --no-pager");
    for wanted in ["Watchdog timeout", "The exporter does not answer"] {
        assert!(log.contains(wanted), "no {wanted} in {log}");
    }
}

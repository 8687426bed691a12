//! `rigd status` for people: a row an exporter, below it what needs attention.

use std::fmt::Write;

use rigd_proto::control::v1::{
    Busy, EmbeddedController, Exporter, Health, Instance, StatusResponse,
};

/// What the daemon says of a link that is well.
const CONNECTED: &str = "connected";
/// Between two columns.
const GAP: &str = "  ";

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What is not as it should be, and what is under way.
    Attention,
    /// Everything.
    All,
}

/// The whole text, with its last line end.
pub(super) fn text(status: &StatusResponse, detail: Detail) -> String {
    let mut out = String::new();
    if detail == Detail::All {
        let started = status.started.as_ref().map(ToString::to_string);
        let started = started.unwrap_or_else(|| "an unknown time".into());
        let (version, pid) = (&status.version, status.pid);
        say(
            &mut out,
            &format!("rigd {version}, process {pid}, since {started}"),
        );
    }
    if let Some(controller) = &status.controller {
        let EmbeddedController {
            endpoint,
            exporters,
            online,
            leases,
        } = controller;
        let line = format!(
            "embedded controller on {endpoint}: {online} of {exporters} exporters online, leases: \
             {leases}"
        );
        say(&mut out, &line);
    }
    if status.exporters.is_empty() {
        say(&mut out, "no exporters");
        return out;
    }
    let head = ["EXPORTER", "STATE", "LEASE", "LINK"].map(str::to_owned);
    let rows: Vec<_> = status.exporters.iter().map(row).collect();
    let lines = aligned(&[vec![head], rows].concat());
    let mut lines = lines.into_iter();
    say(&mut out, &lines.next().unwrap_or_default());
    for (line, exporter) in lines.zip(&status.exporters) {
        say(&mut out, &line);
        for note in notes(exporter, detail) {
            say(&mut out, &format!("  {note}"));
        }
        let shown = |i: &&Instance| detail == Detail::All || attention(i);
        let rows: Vec<_> = exporter
            .instances
            .iter()
            .filter(shown)
            .map(instance)
            .collect();
        for line in aligned(&rows) {
            say(&mut out, &format!("  {line}"));
        }
    }
    out
}

fn say(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn row(exporter: &Exporter) -> [String; 4] {
    let state = match exporter.exit_code {
        Some(code) => format!("{} (exit code {code})", exporter.state),
        None => exporter.state.clone(),
    };
    let lease = match &exporter.lease {
        Some(lease) if lease.client.is_empty() => lease.name.clone(),
        Some(lease) => format!("{} by {}", lease.name, lease.client),
        None => "-".into(),
    };
    let link = match &exporter.link {
        Some(link) if !link.connected && link.detail.is_empty() => {
            format!("no connection to {}", link.endpoint)
        }
        Some(link) if !link.connected => {
            format!("no connection to {}: {}", link.endpoint, link.detail)
        }
        Some(link) if link.tunnels == 0 => link.endpoint.clone(),
        Some(link) => {
            let plural = if link.tunnels == 1 { "" } else { "s" };
            format!("{}, {} tunnel{plural}", link.endpoint, link.tunnels)
        }
        // Without instances nothing is known of it.
        None if exporter.instances.is_empty() => "-".into(),
        None => "direct".into(),
    };
    [
        plain(&exporter.name),
        plain(&state),
        plain(&lease),
        plain(&link),
    ]
}

/// What else is to be said of it.
fn notes(exporter: &Exporter, detail: Detail) -> Vec<String> {
    let mut notes = Vec::new();
    let well = [
        "available",
        "leased",
        "serving",
        "beforeLease",
        "afterLease",
    ];
    let told = detail == Detail::All || !well.contains(&exporter.state.as_str());
    if told && !exporter.message.is_empty() {
        notes.push(plain(&exporter.message));
    }
    let link = exporter.link.as_ref().filter(|link| link.connected);
    if let Some(link) = link.filter(|link| link.detail != CONNECTED) {
        notes.push(plain(&link.detail));
    }
    if !exporter.hold.is_empty() {
        notes.push(format!("held: {}", plain(&exporter.hold)));
    }
    if exporter.retiring {
        notes.push("its configuration has changed: stops at the end of the lease".into());
    }
    if detail == Detail::All {
        let sockets = exporter.sockets.iter();
        notes.extend(sockets.map(|socket| format!("serves on {}", plain(socket))));
    }
    notes
}

fn attention(instance: &Instance) -> bool {
    instance.health() != Health::Ready || instance.busy.is_some()
}

fn instance(instance: &Instance) -> [String; 3] {
    let path = match instance.path.as_str() {
        "" => "(root)",
        path => path,
    };
    let health = match instance.health() {
        Health::Unspecified => "unknown",
        Health::Ready => "ready",
        Health::Absent => "absent",
        Health::Faulty => "faulty",
    };
    let mut state = health.to_owned();
    if !instance.reason.is_empty() {
        state = format!("{health}: {}", instance.reason);
    }
    if let Some(busy) = &instance.busy {
        state = format!("{state}, busy: {}", self::busy(busy));
    }
    [plain(path), plain(&instance.r#type), plain(&state)]
}

fn busy(busy: &Busy) -> String {
    let seconds = busy.since.as_ref().map_or(0, |since| since.seconds);
    let since = match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200.. => format!("{} h", seconds / 3600),
    };
    format!("{} since {since}", busy.method)
}

/// Lines of equally wide columns; the last column is as long as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // A text takes what is written.
            write!(line, "{cell:width$}{GAP}").ok();
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// One line that does nothing to a terminal: names and reasons come from controllers and devices.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};
    use rigd_proto::control::v1::{Lease, Link};

    use super::*;

    fn instance(path: &str, health: Health, reason: &str) -> Instance {
        Instance {
            path: path.into(),
            r#type: "serial".into(),
            health: health.into(),
            reason: reason.into(),
            busy: None,
        }
    }

    fn lab() -> StatusResponse {
        let link = |connected, detail: &str, tunnels| Link {
            endpoint: "grpc.lab:8082".into(),
            connected,
            detail: detail.into(),
            tunnels,
        };
        let mut writing = instance("dutlink.storage", Health::Ready, "");
        writing.busy = Some(Busy {
            method: "write".into(),
            since: Some(Duration {
                seconds: 12,
                nanos: 0,
            }),
        });
        StatusResponse {
            controller: None,
            version: "0.1.0".into(),
            pid: 42,
            started: Some(Timestamp::default()),
            exporters: vec![
                Exporter {
                    name: "board-1".into(),
                    state: "leased".into(),
                    message: "Ready for commands".into(),
                    lease: Some(Lease {
                        name: "lease-7".into(),
                        client: "ann".into(),
                    }),
                    link: Some(link(true, "another daemon runs as this exporter", 2)),
                    retiring: true,
                    instances: vec![
                        instance("", Health::Ready, ""),
                        instance("dutlink.console", Health::Absent, "no such\nfile\u{1b}[2J"),
                        writing,
                    ],
                    ..Exporter::default()
                },
                Exporter {
                    name: "b2".into(),
                    state: "offline".into(),
                    message: "waits for the controller".into(),
                    link: Some(link(false, "connection refused", 0)),
                    hold: "relay is stuck".into(),
                    instances: vec![instance("power", Health::Ready, "")],
                    ..Exporter::default()
                },
                Exporter {
                    name: "b3".into(),
                    state: "serving".into(),
                    message: "Ready for commands".into(),
                    sockets: vec!["/run/rigd/b3.sock".into()],
                    instances: vec![instance("power", Health::Ready, "")],
                    ..Exporter::default()
                },
                Exporter {
                    name: "b4".into(),
                    state: "not answering".into(),
                    message: "the exporter does not answer".into(),
                    ..Exporter::default()
                },
                Exporter {
                    name: "b5".into(),
                    state: "ended".into(),
                    exit_code: Some(3),
                    ..Exporter::default()
                },
            ],
        }
    }

    #[test]
    fn a_row_an_exporter_and_what_needs_attention() {
        let wanted = "\
EXPORTER  STATE                LEASE           LINK
board-1   leased               lease-7 by ann  grpc.lab:8082, 2 tunnels
  another daemon runs as this exporter
  its configuration has changed: stops at the end of the lease
  dutlink.console  serial  absent: no such file\\u{1b}[2J
  dutlink.storage  serial  ready, busy: write since 12 s
b2        offline              -               no connection to grpc.lab:8082: connection refused
  waits for the controller
  held: relay is stuck
b3        serving              -               direct
b4        not answering        -               -
  the exporter does not answer
b5        ended (exit code 3)  -               -
";
        assert_eq!(text(&lab(), Detail::Attention), wanted);
    }

    #[test]
    fn all_shows_everything() {
        let text = text(&lab(), Detail::All);
        for wanted in [
            "rigd 0.1.0, process 42, since 1970-01-01T00:00:00Z\n",
            "  Ready for commands\n",
            "  (root)           serial  ready\n",
            "  serves on /run/rigd/b3.sock\n",
            "  power  serial  ready\n",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
        }
    }

    #[test]
    fn long_times_are_told_in_what_people_count() {
        for (seconds, wanted) in [(119, "119 s"), (120, "2 min"), (7200, "2 h")] {
            let since = Some(Duration { seconds, nanos: 0 });
            let busy = self::busy(&Busy {
                method: "write".into(),
                since,
            });
            assert_eq!(busy, format!("write since {wanted}"));
        }
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let none = StatusResponse::default();
        assert_eq!(text(&none, Detail::Attention), "no exporters\n");
        let alone = StatusResponse {
            controller: Some(EmbeddedController {
                endpoint: "lab:8082".into(),
                exporters: 3,
                online: 2,
                leases: 1,
            }),
            ..none
        };
        let wanted = "embedded controller on lab:8082: 2 of 3 exporters online, leases: 1\n\
                      no exporters\n";
        assert_eq!(text(&alone, Detail::Attention), wanted);
    }

    #[test]
    fn machines_get_everything() {
        let value = super::super::json::value(&lab());
        let first = &value["exporters"][0];
        assert_eq!(first["lease"]["client"], "ann");
        assert_eq!(first["instances"][1]["health"], "absent");
        assert_eq!(first["instances"][2]["busy"]["seconds"], 12);
        assert_eq!(first["exitCode"], serde_json::Value::Null);
        assert_eq!(value["exporters"][4]["exitCode"], 3);
        assert_eq!(value["exporters"][2]["link"], serde_json::Value::Null);
        assert_eq!(value["started"], "1970-01-01T00:00:00Z");
    }
}

//! What becomes of a log line in the lab's log collection. Pure.

use rigd_proto::v1::LogEntry;

use super::Context;
use crate::session::LogLine;

/// The kind of program that writes these entries.
const COMPONENT: &str = "exporter";
/// What the collection takes of an entry's other fields: pairs, and characters of each.
const MAX_EXTRA: usize = 16;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 256;

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Severity {
    /// From a name in any case; one that is unknown or empty is taken for info.
    pub(super) fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "warning" => Self::Warning,
            "error" => Self::Error,
            "critical" => Self::Critical,
            _ => Self::Info,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// The entry for a line that is at least as bad as `least`.
pub(super) fn entry(line: LogLine, context: &Context, least: Severity) -> Option<LogEntry> {
    let severity = Severity::parse(line.severity);
    if severity < least {
        return None;
    }
    let mut entry = LogEntry {
        timestamp: Some(line.time.into()),
        severity: severity.name().into(),
        message: line.message,
        component: COMPONENT.into(),
        exporter: context.exporter.clone(),
        lease: context.lease.clone(),
        client: context.client.clone(),
        operation: line.operation.unwrap_or_default(),
        driver_type: line.driver_type.unwrap_or_default(),
        namespace: context.namespace.clone(),
        ..LogEntry::default()
    };
    for (name, value) in line.fields {
        // What a line says of itself is nearer to the event than the context, which may have
        // changed since: "Lease ended." names the lease that is no more.
        let slot = match name.as_str() {
            "lease" => Some(&mut entry.lease),
            "client" => Some(&mut entry.client),
            "operation" => Some(&mut entry.operation),
            "driver_type" => Some(&mut entry.driver_type),
            "result" => Some(&mut entry.result),
            _ => None,
        };
        match slot {
            Some(slot) if !value.is_empty() => *slot = value,
            Some(_) => {}
            None if entry.extra_fields.len() < MAX_EXTRA => {
                let pair = (cut(name, MAX_KEY), cut(value, MAX_VALUE));
                entry.extra_fields.extend([pair]);
            }
            None => {}
        }
    }
    Some(entry)
}

/// At most `max` characters, the last of which shows that there were more.
fn cut(text: String, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text;
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rigd_proto::v1::LogSource;

    use super::*;

    fn line(severity: &'static str, fields: Vec<(String, String)>) -> LogLine {
        LogLine {
            severity,
            message: "power on".into(),
            source: LogSource::Driver,
            driver_type: Some("power".into()),
            operation: Some("on".into()),
            fields,
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        }
    }

    fn context() -> Context {
        Context {
            exporter: "rpi4".into(),
            namespace: "lab".into(),
            lease: "l1".into(),
            client: "alice".into(),
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn an_entry_says_who_what_and_when() {
        let fields = vec![pair("result", "success"), pair("instance", "dut.power")];
        let made = entry(line("WARNING", fields), &context(), Severity::Info).unwrap();
        let wanted = LogEntry {
            timestamp: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 500_000_000,
            }),
            severity: "warning".into(),
            message: "power on".into(),
            component: "exporter".into(),
            exporter: "rpi4".into(),
            lease: "l1".into(),
            client: "alice".into(),
            operation: "on".into(),
            result: "success".into(),
            driver_type: "power".into(),
            extra_fields: [pair("instance", "dut.power")].into(),
            namespace: "lab".into(),
        };
        assert_eq!(made, wanted);
    }

    #[test]
    fn a_line_about_another_lease_keeps_its_name() {
        let fields = vec![pair("lease", "l0"), pair("client", "")];
        let made = entry(line("INFO", fields), &context(), Severity::Info).unwrap();
        assert_eq!((made.lease.as_str(), made.client.as_str()), ("l0", "alice"));
        assert!(made.extra_fields.is_empty());
    }

    #[test]
    fn only_what_is_bad_enough_is_sent_and_an_unknown_least_is_info() {
        let sent = |severity, least| {
            entry(line(severity, vec![]), &context(), Severity::parse(least)).is_some()
        };
        for (least, passed) in [
            ("debug", [true, true, true, true, true]),
            ("", [false, true, true, true, true]),
            ("loud", [false, true, true, true, true]),
            ("info", [false, true, true, true, true]),
            ("Warning", [false, false, true, true, true]),
            ("ERROR", [false, false, false, true, true]),
            ("critical", [false, false, false, false, true]),
        ] {
            let severities = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
            assert_eq!(severities.map(|s| sent(s, least)), passed, "{least}");
        }
    }

    #[test]
    fn other_fields_are_bounded_in_number_and_in_characters() {
        let many = (0..20).map(|n| pair(&format!("k{n:02}"), "v")).collect();
        let made = entry(line("INFO", many), &context(), Severity::Info).unwrap();
        let keys: Vec<_> = made.extra_fields.into_keys().collect();
        assert_eq!(
            keys,
            (0..16).map(|n| format!("k{n:02}")).collect::<Vec<_>>()
        );

        let long = vec![
            pair(&"ä".repeat(65), &"ö".repeat(257)),
            pair(&"a".repeat(64), &"é".repeat(256)),
        ];
        let made = entry(line("INFO", long), &context(), Severity::Info).unwrap();
        let wanted = [
            (
                format!("{}…", "ä".repeat(63)),
                format!("{}…", "ö".repeat(255)),
            ),
            ("a".repeat(64), "é".repeat(256)),
        ];
        assert_eq!(made.extra_fields, wanted.into());
    }
}

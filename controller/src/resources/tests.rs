//! Times, durations, errors, tables.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn durations_are_those_of_go() {
    for (text, nanos) in [
        ("30m0s", 1_800_000_000_000),
        ("0s", 0),
        ("1h0m0s", 3_600_000_000_000),
        ("24h0m0s", 86_400_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5s", 1_500_000_000),
        ("1m0.25s", 60_250_000_000),
        ("250ms", 250_000_000),
        ("1.5ms", 1_500_000),
        ("1.001µs", 1_001),
        ("7ns", 7),
        ("2562047h47m16.854775807s", i64::MAX as u64),
    ] {
        let duration = Duration::from_nanos(nanos);
        assert_eq!(GoDuration(duration).to_string(), text);
        assert_eq!(text.parse(), Ok(GoDuration(duration)));
    }
    for (text, seconds) in [
        ("30m", 1800),
        ("+1h", 3600),
        ("0", 0),
        ("1.h", 3600),
        (".5m", 30),
        ("1h1h", 7200),
    ] {
        assert_eq!(
            text.parse(),
            Ok(GoDuration(Duration::from_secs(seconds))),
            "{text}"
        );
    }
    for text in [
        "", "30", "-1s", "1d", "h", ".", ".s", "1..5s", "1 h", "1h ", "+", "9999999h", "é", "+-1s",
    ] {
        assert!(text.parse::<GoDuration>().is_err(), "{text}");
    }
}

#[test]
fn times_are_those_of_rfc_3339() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951_868_799),
        ("2026-03-02T08:15:00Z", 1_772_439_300),
        ("2026-03-02T08:15:00.999Z", 1_772_439_300),
        ("2026-03-02T10:45:00+02:30", 1_772_439_300),
        ("2026-03-01T20:15:00-12:00", 1_772_439_300),
    ] {
        let time: Timestamp = text.parse().unwrap();
        assert_eq!(SystemTime::from(time), at(seconds), "{text}");
    }
    for text in [
        "0001-01-01T00:00:00Z",
        "1900-02-28T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ] {
        assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        assert_eq!(
            Timestamp::from(SystemTime::from(text.parse::<Timestamp>().unwrap())).to_string(),
            text
        );
    }
    for text in [
        "",
        "2026-03-02",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00+1:00",
        "2026-01-01T00:00:00Zx",
        "0000-12-31T00:00:00Z",
        "2026-01-0é1T00:00:0Z",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let object = |kind: &str, rest: &str| {
        format!("apiVersion: jumpstarter.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\n{rest}")
    };
    let lease = "spec: {clientRef: {name: ci}, ";
    for (text, error) in [
        ("a: [", "this is no YAML: line "),
        ("{\"a\": 1.5}", "this is no JSON: "),
        (
            "- 1",
            "an object is a map with `apiVersion` and `kind`, not a list",
        ),
        ("kind: Lease", "the field `apiVersion` is missing"),
        (
            "apiVersion: v2\nkind: Lease",
            "apiVersion: `v2` is not known here",
        ),
        (
            &object("Leese", ""),
            "kind: unknown kind `Leese`: did you mean `Lease`?",
        ),
        (
            &object("Lease", "sepc: {}"),
            "unknown field `sepc`: did you mean `spec`?",
        ),
        (&object("Lease", ""), "the field `spec` is missing"),
        (
            &object("Lease", "spec: 5"),
            "spec: expected a map of `allowDisabled`, ",
        ),
        (
            &object("Lease", &format!("{lease}duration: 5}}")),
            "spec.duration: invalid type: integer `5`, expected a string",
        ),
        (
            &object("Lease", &format!("{lease}duration: 5d}}")),
            "spec.duration: `5d` is no duration: units are",
        ),
        (
            &object("Lease", &format!("{lease}beginTime: now}}")),
            "spec.beginTime: `now` is no time: write it as",
        ),
        (
            &object(
                "Lease",
                &format!("{lease}selector: {{matchlabels: {{}}}}}}"),
            ),
            "spec.selector: unknown field `matchlabels`: did you mean `matchLabels`?",
        ),
        (
            &object(
                "Lease",
                &format!("{lease}selector: {{matchExpressions: [{{key: a, operator: in}}]}}}}"),
            ),
            "spec.selector.matchExpressions[0].operator: unknown value `in`: did you mean `In`?",
        ),
        (
            &object("Exporter", "x: 1"),
            "unknown field `x`: valid are `metadata`, `spec`, `status`",
        ),
        (
            &object("Exporter", "spec: {enabled: 1.5}"),
            "line 4: `1.5` is a number with a fraction",
        ),
        (
            &object("Exporter", "spec: {enabled: 010}"),
            "line 4: `010` is a number that is not",
        ),
        (&object("Exporter", "spec: *a"), "this is no YAML"),
        (&object("Exporter", "spec: !x {}"), "line 4: a tag"),
        (
            &object("Exporter", "kind: Lease"),
            "line 4: the key `kind` is there twice",
        ),
        (
            &(object("Exporter", "---\n") + &object("Exporter", "y: 1")),
            "document 2: unknown field `y`",
        ),
        (
            "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}]}",
            "items[0]: the field `apiVersion` is missing",
        ),
    ] {
        let said = read_objects(text).unwrap_err().to_string();
        assert!(said.starts_with(error), "{said}\n{error}");
    }
    // The parser has a limit of its own, which comes first for the second one.
    for (levels, why) in [(98, "nested deeper than 96"), (100_000, "this is no YAML")] {
        let deep = "[".repeat(levels) + &"]".repeat(levels);
        let said = read_objects(&deep).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn what_makes_no_sense_is_no_model() {
    let text = "apiVersion: jumpstarter.dev/v1alpha1\nkind: ExporterAccessPolicy\nmetadata: {name: a}\nspec:\n  policies:\n  - from:\n    - clientSelector: {matchExpressions: [{key: a, operator: In}]}\n";
    let policy = ExporterAccessPolicy::from_yaml(text).unwrap();
    assert_eq!(
        policy.to_model(at(0)).unwrap_err().to_string(),
        "spec.policies[0].from[0].clientSelector.matchExpressions[0].values: the operator `In` needs values"
    );
    let text = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata: {name: a, labels: {a: b c}}\n";
    let said = Client::from_yaml(text)
        .unwrap()
        .to_model(at(0))
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("metadata.labels.a: ") && said.contains("invalid label value 'b c'"),
        "{said}"
    );
}

#[test]
fn objects_are_read_from_lists_and_documents() {
    let exporter = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Exporter\nmetadata:\n  name: rig\nspec: null\n";
    let list = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"metadata\": {}, \"items\": [{\"apiVersion\": \"jumpstarter.dev/v1alpha1\", \"kind\": \"Client\", \"metadata\": {\"name\": \"ci\"}}]}";
    let objects = read_objects(&format!("---\n{exporter}---\n# nothing\n---\n{list}\n")).unwrap();
    assert_eq!(objects.len(), 2);
    assert!(matches!(&objects[0], Object::Exporter(e) if e.metadata.name == "rig"));
    assert!(matches!(&objects[1], Object::Client(c) if c.metadata.name == "ci"));
    assert_eq!(read_objects(list).unwrap().len(), 1);
    assert_eq!(read_objects("").unwrap(), []);
}

#[test]
fn tables_are_aligned_and_harmless() {
    let exporter = |name: &str, message: &str| Exporter {
        metadata: ObjectMeta {
            name: name.into(),
            creation_timestamp: Some(at(1000).into()),
            ..ObjectMeta::default()
        },
        status: Some(ExporterStatus {
            endpoint: message.into(),
            ..ExporterStatus::default()
        }),
        ..Exporter::default()
    };
    let items = [exporter("a", "ctl:8082"), exporter("longer", "\u{1b}[2J")];
    assert_eq!(
        table(&items, Detail::Brief, at(1000 + 3725)),
        "NAME    STATUS   ENDPOINT   DEVICES  AGE\n\
         a       Unknown  ctl:8082   0        1h2m\n\
         longer  Unknown  \\u{1b}[2J  0        1h2m\n"
    );
    assert_eq!(
        names(&items),
        "exporter.jumpstarter.dev/a\nexporter.jumpstarter.dev/longer\n"
    );
    assert_eq!(table::<Exporter>(&[], Detail::Brief, at(0)), "");
}

//! Reading into types: every mistake once, at its place, and nothing made up.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::*;
use crate::config::diagnostic::{Diagnostics, Source};
use crate::config::parse_tree;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Relay {
    line: u8,
    #[serde(default)]
    drive: Drive,
    name: String,
    #[serde(default)]
    pulse: Option<Pulse>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    by_number: BTreeMap<u16, f64>,
    #[serde(default, alias = "auth_key")]
    secret: Option<Pin>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Pulse {
    width: f64,
    count: u32,
    shape: Drive,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Drive {
    #[default]
    PushPull,
    OpenDrain,
    Timed {
        ms: u32,
    },
    Level(i8),
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Pin(String);

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 4 {
            Ok(Pin(text))
        } else {
            Err(format!("{text} is no pin of four digits"))
        }
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<String>> {
    let (root, problems) = parse_tree(text);
    assert_eq!(problems, []);
    from_node(&root.unwrap()).map_err(|found| {
        let line =
            |problem: Problem| format!("{}: {}", problem.span.unwrap().line, problem.message);
        found.into_iter().map(line).collect()
    })
}

fn mistakes<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> Vec<String> {
    read::<T>(text).unwrap_err()
}

#[test]
fn reads_every_shape() {
    let text = "line: 3.0\ndrive: {timed: {ms: 5}}\nname: x\npulse: {width: 1, count: 0x10, shape: {level: -1}}\ntags: [a, 'on']\nby_number: {1: 2.5, 0x2: 3}\nsecret: '1234'\n";
    let relay: Relay = read(text).unwrap();
    assert_eq!((relay.line, &relay.drive), (3, &Drive::Timed { ms: 5 }));
    assert_eq!(
        relay.pulse,
        Some(Pulse {
            width: 1.0,
            count: 16,
            shape: Drive::Level(-1)
        })
    );
    assert_eq!(relay.by_number, BTreeMap::from([(1, 2.5), (2, 3.0)]));
    assert_eq!(relay.secret, Some(Pin("1234".to_owned())));
    let relay: Relay = read("{line: 1, drive: open_drain, name: y, pulse: ~}").unwrap();
    assert_eq!((relay.drive, relay.pulse), (Drive::OpenDrain, None));
}

#[test]
fn tells_all_mistakes_at_once_without_consequences() {
    let text = "line: seven\ndrvie: open_drain\nname: 9600\npulse:\n  width: wide\n  cuont: 2\ntags: [a, on, 3, b]\nby_number: {x: 1, 2: y}\n";
    let expected = [
        "1: `line`: expected a whole number from 0 to 255, found the string `seven`",
        "2: unknown key `drvie`",
        "3: `name`: expected a string, found the number `9600`",
        "5: `width`: expected a number, found the string `wide`",
        "6: unknown key `cuont`",
        "7: `tags`: expected a string, found the boolean `on`",
        "7: `tags`: expected a string, found the number `3`",
        "8: expected a whole number from 0 to 65535, found the string `x`",
        "8: `2`: expected a number, found the string `y`",
        "4: `pulse`: missing key `shape`",
    ];
    let mut found = mistakes::<Relay>(text);
    found.sort();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn all_missing_keys_are_told_and_only_they() {
    assert_eq!(
        mistakes::<Relay>("drive: push_pull\n"),
        ["1: missing key `line`", "1: missing key `name`"]
    );
    assert_eq!(
        mistakes::<Relay>("lines: 4\nname: x\n"),
        ["1: unknown key `lines`"]
    );
    assert_eq!(
        mistakes::<Relay>("line: 4\nname: x\npulse: {}\n"),
        [
            "3: `pulse`: missing key `width`",
            "3: `pulse`: missing key `count`",
            "3: `pulse`: missing key `shape`"
        ]
    );
}

#[test]
fn ranges_variants_and_kinds() {
    let with = |rest: &str| mistakes::<Relay>(&format!("line: 1\nname: x\n{rest}"));
    assert_eq!(
        mistakes::<Relay>("{line: 256, name: x}"),
        ["1: `line`: expected a whole number from 0 to 255, found the number `256`"]
    );
    assert_eq!(
        mistakes::<Relay>("{line: 1.5, name: x}"),
        ["1: `line`: expected a whole number from 0 to 255, found the number `1.5`"]
    );
    assert_eq!(
        mistakes::<Relay>("{line: 4:20, name: x}"),
        [
            "1: `line`: expected a whole number from 0 to 255, found the number `4:20`, which YAML reads as 260"
        ]
    );
    assert_eq!(
        mistakes::<Relay>("{line: '1', name: ~}"),
        [
            "1: `line`: expected a whole number from 0 to 255, found the string `1`",
            "1: `name`: expected a string, found nothing"
        ]
    );
    let drives = "`push_pull`, `open_drain`, `timed` or `level`";
    assert_eq!(
        with("drive: opendrain"),
        [format!(
            "3: `drive`: expected {drives}, found the string `opendrain`"
        )]
    );
    assert_eq!(
        with("drive: off"),
        [format!(
            "3: `drive`: expected {drives}, found the boolean `off`"
        )]
    );
    assert_eq!(with("drive: {timed: {sm: 3}}"), ["3: unknown key `sm`"]);
    assert_eq!(
        with("drive: {a: 1, b: 2}"),
        ["3: `drive`: expected a string, or a map with one key"]
    );
    assert_eq!(
        with("on: 1"),
        ["3: the key `on` is a boolean to YAML, and a string is needed"]
    );
    assert_eq!(
        with("3: 1"),
        ["3: the key `3` is a number to YAML, and a string is needed"]
    );
    assert_eq!(
        with("~: 1"),
        ["3: the key `~` is nothing to YAML, and a string is needed"]
    );
    assert_eq!(
        mistakes::<Relay>("[1]"),
        ["1: expected a map, found a list"]
    );
}

#[test]
fn secrets_stay_out_of_messages() {
    let found = mistakes::<Relay>("line: 1\nname: x\nsecret: hunter22\n");
    assert_eq!(found, ["3: `secret`: *** is no pin of four digits"]);
    let found = mistakes::<Relay>("line: 1\nname: x\nauth_key: 12345\n");
    assert_eq!(
        found,
        ["3: `auth_key`: expected a string, found the number"]
    );
}

#[test]
fn a_check_of_the_whole_is_silent_about_what_was_left_out() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Raw")]
    #[allow(dead_code)]
    struct Range(u8, u8);

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        #[serde(default)]
        low: u8,
        #[serde(default)]
        high: u8,
    }

    impl TryFrom<Raw> for Range {
        type Error = &'static str;

        fn try_from(raw: Raw) -> Result<Self, Self::Error> {
            if raw.low < raw.high {
                Ok(Range(raw.low, raw.high))
            } else {
                Err("low is not below high")
            }
        }
    }

    assert_eq!(
        mistakes::<Range>("{low: 3, high: 2}"),
        ["1: low is not below high"]
    );
    assert_eq!(
        mistakes::<Range>("{low: 3, high: x}"),
        ["1: `high`: expected a whole number from 0 to 255, found the string `x`"]
    );
    assert_eq!(
        mistakes::<Vec<Range>>("[{low: 3, high: 2}, {low: x}]"),
        [
            "1: low is not below high",
            "1: `low`: expected a whole number from 0 to 255, found the string `x`"
        ]
    );
}

#[test]
fn the_places_survive_a_reader_that_makes_strings_of_errors() {
    let (root, _) = parse_tree("line: x\nnmae: y\n");
    let root = root.unwrap();
    let found = read_all(&root, |reader| {
        Relay::deserialize(reader).map_err(|_| "something")
    })
    .unwrap_err();
    let lines: Vec<_> = found
        .iter()
        .map(|problem| problem.span.unwrap().line)
        .collect();
    assert_eq!(lines, [1, 2]);
}

#[test]
fn the_help_for_words_that_yaml_makes_booleans_of() {
    let text = "line: 1\nname: on\n";
    let (root, _) = parse_tree(text);
    let found = from_node::<Relay>(root.as_ref().unwrap()).unwrap_err();
    let source = Arc::new(Source::new("rig.yaml", text, root.as_ref()));
    let expected = "\
error: `name`: expected a string, found the boolean `on`
 --> rig.yaml:2:7
  |
2 | name: on
  |       ^^
  |
  = help: YAML reads this word as a boolean; write it in quotes: \"on\"";
    assert_eq!(Diagnostics::new(source, found).to_string(), expected);
}

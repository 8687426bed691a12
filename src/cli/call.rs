//! `rigd call`: a driver call from the lab host, past the lease.

use std::io::Write;

use rigd_proto::{
    control::v1::{CallRequest, CallResponse},
    value,
};
use serde_json::{Number, Value};

use super::{
    Failure,
    daemon::{ANSWER_LIMIT, Daemon, answer, failed, refused},
};

/// Largest magnitude up to which the protocol, whose numbers are doubles, holds every integer: 2^53.
const EXACT: u64 = 1 << 53;

/// Arguments of `rigd call`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which exporter.
    exporter: String,

    /// Instance and method, e.g. `dutlink.power.on`; a method alone is one of the root.
    #[arg(value_name = "PATH.METHOD", value_parser = Target::parse)]
    target: Target,

    /// Arguments: JSON where it is JSON, else text, e.g. `3`, `true`, `'"3"'`, `hello`.
    #[arg(value_name = "ARG", value_parser = argument, allow_negative_numbers = true)]
    args: Vec<Value>,

    /// Call although a client holds a lease.
    #[arg(long)]
    force: bool,

    /// Print texts as they are, not as JSON.
    #[arg(short, long)]
    raw: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// Dotted path of the instance, empty for the root.
    path: String,
    method: String,
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let (path, method) = text.rsplit_once('.').unwrap_or(("", text));
        if method.is_empty() || path.split('.').any(str::is_empty) != path.is_empty() {
            return Err(
                "write the path of the instance, a dot and the method, e.g. \
                        dutlink.power.on"
                    .into(),
            );
        }
        Ok(Self {
            path: path.into(),
            method: method.into(),
        })
    }
}

fn argument(text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()));
    match inexact(&value) {
        None => Ok(value),
        Some(number) => Err(format!(
            "{number} is an integer beyond 2^53, which the protocol would round; send it as text: \
             '\"{number}\"'"
        )),
    }
}

/// The first integer inside of it that would arrive as another one.
fn inexact(value: &Value) -> Option<&Number> {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_i64().map(i64::unsigned_abs);
            let magnitude = magnitude.or_else(|| number.as_u64());
            magnitude.is_some_and(|m| m > EXACT).then_some(number)
        }
        Value::Array(items) => items.iter().find_map(inexact),
        Value::Object(fields) => fields.values().find_map(inexact),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let request = CallRequest {
        exporter: args.exporter,
        path: args.target.path,
        method: args.target.method,
        args: args.args.into_iter().map(value::from_json).collect(),
        force: args.force,
    };
    args.daemon.ask(async |mut client| {
        let mut results = answer(ANSWER_LIMIT, client.call(request)).await?;
        // No deadline here: a flash takes as long as it takes.
        while let Some(result) = results.message().await.map_err(|status| refused(&status))? {
            let CallResponse { result } = result;
            let result = value::to_json(result.unwrap_or_default()).map_err(failed)?;
            if writeln!(std::io::stdout(), "{}", line(result, args.raw)).is_err() {
                // A reader that closes early, such as `head`, has what it wanted.
                break;
            }
        }
        Ok(())
    })
}

fn line(result: Value, raw: bool) -> String {
    match result {
        Value::String(text) if raw => text,
        result => result.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        call: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["call", "rpi4"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.call)
    }

    #[test]
    fn the_method_is_behind_the_last_dot() {
        for (text, path, method) in [
            ("dutlink.power.on", "dutlink.power", "on"),
            ("power.on", "power", "on"),
            ("on", "", "on"),
            (".on", "", "on"),
        ] {
            let found = Target::parse(text).unwrap();
            assert_eq!((found.path.as_str(), found.method.as_str()), (path, method));
        }
        for text in ["", ".", "power.", "a..on", ".a.on"] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn arguments_are_json_where_they_can_be() {
        let call = parse(&[
            "power.set",
            "3",
            "-5",
            "-0.5",
            "true",
            "null",
            "[1, \"a\"]",
            "{\"a\": {}}",
            "\"3\"",
            "hello world",
            "",
            "NaN",
            "1e999",
            "3 4",
        ]);
        let wanted = [
            json!(3),
            json!(-5),
            json!(-0.5),
            json!(true),
            json!(null),
            json!([1, "a"]),
            json!({"a": {}}),
            json!("3"),
            json!("hello world"),
            json!(""),
            json!("NaN"),
            json!("1e999"),
            json!("3 4"),
        ];
        assert_eq!(call.unwrap().args, wanted);
    }

    #[test]
    fn flags_stand_anywhere_and_two_dashes_end_them() {
        let call = parse(&["power.set", "1", "--force", "2", "-r"]).unwrap();
        assert!(call.force && call.raw);
        assert_eq!(call.args, [json!(1), json!(2)]);
        let call = parse(&["power.set", "--", "--force", "-x"]).unwrap();
        assert!(!call.force);
        assert_eq!(call.args, [json!("--force"), json!("-x")]);
    }

    #[test]
    fn integers_that_would_be_rounded_are_refused() {
        assert_eq!(argument("9007199254740992").unwrap(), json!(1u64 << 53));
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "[{\"a\": 18446744073709551615}]",
        ] {
            let error = argument(text).unwrap_err();
            assert!(error.contains("beyond 2^53"), "{error}");
        }
        assert!(argument("\"9007199254740993\"").is_ok());
    }

    #[test]
    fn results_are_json_unless_raw() {
        assert_eq!(line(json!("a\nb"), false), r#""a\nb""#);
        assert_eq!(line(json!("a\nb"), true), "a\nb");
        assert_eq!(line(json!({"volts": 5.1}), true), r#"{"volts":5.1}"#);
        assert_eq!(line(json!(null), false), "null");
    }
}

//! Faults: ways in which the simulated hardware fails, set by configuration or at run time.

use std::sync::atomic::{AtomicBool, Ordering};

use rigd_driver::DriverError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::ByteCount;

/// What is broken. Set under `faults:`, or during a lease with the board's method
/// `inject(name, value)`; `inject(name, null)` takes one fault back and `clear()` all of them.
/// The end of a lease brings the configured ones back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The console is unplugged: open streams end with an error and the instance is absent. When
    /// the fault is gone the console comes back by itself, as a real one does, within 30 s.
    pub console_lost: bool,
    /// Reads and writes that touch this byte of the card fail with EIO, for the lab host and for
    /// the board.
    pub card_eio: Option<ByteCount>,
    /// Writes to the card hang until the fault is taken back, and do not notice that their
    /// client went away: what a stuck card reader does to a process.
    pub card_stall: bool,
    /// Bytes a second at most that the card reads and writes.
    pub card_slow: Option<ByteCount>,
    /// The power relay is stuck: `on` and `off` succeed, since nothing tells the lab host of it,
    /// and the board stays as it is. `read` shows the truth.
    pub relay_stuck: bool,
}

impl Faults {
    /// What types cannot say: the key that is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match self.card_slow {
            Some(ByteCount(0)) => Err((
                "card_slow",
                "must be at least 1 byte a second; use card_stall for a card that hangs",
            )),
            _ => Ok(()),
        }
    }

    /// The same with one fault set, or taken back by null.
    pub(crate) fn with(self, name: &str, value: Value) -> Result<Self, DriverError> {
        let wrong = |error: &dyn std::fmt::Display| {
            DriverError::InvalidArgument(format!("cannot inject {name}: {error}"))
        };
        let mut all = match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            Ok(_) => serde_json::Map::new(),
            Err(error) => return Err(wrong(&error)),
        };
        let unknown = !all.contains_key(name);
        match value {
            // An unknown name stays, so that it is refused below with the list of known ones.
            Value::Null if !unknown => all.remove(name),
            value => all.insert(name.into(), value),
        };
        let faults: Self =
            serde_json::from_value(Value::Object(all)).map_err(|error| wrong(&error))?;
        faults.check().map_err(|(_, why)| wrong(&why))?;
        Ok(faults)
    }
}

/// The faults that hold now, seen by every part of the board.
#[derive(Debug)]
pub(crate) struct FaultSwitch {
    configured: Faults,
    now: watch::Sender<Faults>,
    closed: AtomicBool,
}

impl FaultSwitch {
    pub(crate) fn new(configured: Faults) -> Self {
        Self {
            configured,
            now: watch::Sender::new(configured),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> Faults {
        *self.now.borrow()
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.now.send_replace(faults);
    }

    /// Back to those of the configuration.
    pub(crate) fn reset(&self) {
        self.set(self.configured);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Faults> {
        self.now.subscribe()
    }

    /// Lets go whoever hangs in a stall: the board is closed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn stalled(&self) -> bool {
        self.now().card_stall && !self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_are_set_and_taken_back_by_name() {
        let faults = Faults::default();
        let set = faults.with("card_eio", json!("1MiB")).unwrap();
        assert_eq!(set.card_eio, Some(ByteCount(1 << 20)));
        assert_eq!(set.with("card_eio", Value::Null).unwrap(), faults);
        let both = set.with("relay_stuck", json!(true)).unwrap();
        assert!(both.relay_stuck && both.card_eio.is_some());
    }

    #[test]
    fn unknown_names_and_wrong_values_are_told_with_what_would_be_right() {
        let text = |name: &str, value| {
            let error = Faults::default().with(name, value).unwrap_err();
            assert!(matches!(error, DriverError::InvalidArgument(_)));
            error.to_string()
        };
        assert!(text("relay", json!(true)).contains("expected one of `console_lost`"));
        assert!(text("relay", Value::Null).contains("unknown field `relay`"));
        assert!(text("relay_stuck", json!(3)).contains("expected a boolean"));
        assert!(text("card_slow", json!(0)).contains("at least 1 byte a second"));
    }
}

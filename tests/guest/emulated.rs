//! Speaks with `tests/guest/usb/serve`, which plays the USB devices of a guest: what they were sent,
//! how they are to behave, whether they are plugged in. The head of that file lists the devices.

use std::{
    io::{BufRead, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// It answers in milliseconds; a machine that compiles at the same time is slower.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// One emulated device: `NAME` of `NAME=KIND`, or a part of it such as `NAME.reader`.
#[derive(Debug)]
pub(crate) struct Usb {
    dir: PathBuf,
    name: String,
}

impl Usb {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The other end of a console.
    pub(crate) fn board(&self) -> UnixStream {
        let board = UnixStream::connect(self.dir.join(format!("{}.sock", self.name))).unwrap();
        board.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        board
    }

    /// The file that is the medium of a disk.
    pub(crate) fn medium(&self) -> PathBuf {
        self.dir.join(format!("{}.img", self.name))
    }

    /// All that it was sent since the guest's start, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        match self.order("events", json!({})) {
            Value::Array(events) => events,
            other => panic!("{other}"),
        }
    }

    /// Values of `key` in all events of this kind: `values("report", "data")`.
    pub(crate) fn values(&self, event: &str, key: &str) -> Vec<Value> {
        let all = self.events();
        let wanted = all.iter().filter(|e| e["event"] == event);
        wanted.map(|e| e[key].clone()).collect()
    }

    /// Those that are texts, such as bytes in hexadecimal.
    pub(crate) fn texts(&self, event: &str, key: &str) -> Vec<String> {
        let values = self.values(event, key).into_iter();
        values
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Waits until the events meet the condition.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = Instant::now() + ANSWER_LIMIT;
        loop {
            let events = self.events();
            if wanted(&events) {
                return events;
            }
            let name = &self.name;
            assert!(Instant::now() < end, "{name}: no {what} in {events:#?}");
            std::thread::sleep(POLL);
        }
    }

    /// What a look at it shows: relays that are on, where the mux is.
    pub(crate) fn state(&self) -> Value {
        self.order("state", json!({}))
    }

    /// Changes how it behaves: settings of its kind, or `answer` with `only` and `after`.
    pub(crate) fn set(&self, settings: Value) {
        self.order("set", settings);
    }

    /// From now on it answers nothing at all, until `recover`.
    pub(crate) fn stall(&self) {
        self.set(json!({"answer": "never"}));
    }

    /// It refuses every request.
    pub(crate) fn refuse(&self) {
        self.set(json!({"answer": "stall"}));
    }

    /// It answers as it should again.
    pub(crate) fn recover(&self) {
        self.set(json!({"answer": "normal"}));
    }

    /// Pulls it, also in the middle of a transfer.
    pub(crate) fn unplug(&self) {
        self.order("unplug", json!({}));
    }

    /// Plugs it in again; the guest needs a moment until the device files are there.
    pub(crate) fn plug(&self) {
        self.order("plug", json!({}));
    }

    fn order(&self, what: &str, mut order: Value) -> Value {
        order["do"] = what.into();
        order["device"] = self.name.as_str().into();
        let mut control = UnixStream::connect(self.dir.join("control")).unwrap();
        control.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        writeln!(control, "{order}").unwrap();
        let mut answer = String::new();
        BufReader::new(control).read_line(&mut answer).unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        match answer["ok"].take() {
            Value::Null if answer.get("error").is_some() => panic!("{order}: {}", answer["error"]),
            ok => ok,
        }
    }
}

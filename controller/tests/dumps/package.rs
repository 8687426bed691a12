//! The released package in a process of its own, which answers one object at a time.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rigd_controller::resources::Node;

use super::python;

/// For one answer: most of it is the start of the interpreter on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The process; its drop ends it.
pub(crate) struct Package {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Package {
    /// `None` where there is no Python and none is required.
    pub(crate) fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/dumps.py");
        let mut child = Command::new(python::venv()?.python())
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, answers) = channel();
        // Ends with the process, whose output it reads.
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Some(Self {
            child,
            requests,
            answers,
        })
    }

    /// What it says to a request.
    pub(crate) fn ask(&mut self, what: &str, kind: &str, data: &Node, now: Option<u64>) -> Answer {
        let mut request = vec![
            (what.to_owned(), Node::Text(kind.to_owned())),
            ("data".to_owned(), data.clone()),
        ];
        if let Some(now) = now {
            request.push(("now".to_owned(), Node::Int(i64::try_from(now).unwrap())));
        }
        let line = serde_json::to_string(&Node::Map(request)).unwrap();
        writeln!(self.requests, "{line}").unwrap();
        let answer = self.answers.recv_timeout(PATIENCE);
        Answer(Node::from_json(&answer.expect("the process answers")).unwrap())
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the package made of an object.
#[derive(Debug)]
pub(crate) struct Answer(Node);

impl Answer {
    /// Why it refused.
    pub(crate) fn error(&self) -> Option<&str> {
        self.text("error")
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Node::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Texts in a row.
    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        texts(self.0.get(key).unwrap())
    }

    /// Rows of texts.
    pub(crate) fn rows(&self, key: &str) -> Vec<Vec<String>> {
        match self.0.get(key) {
            Some(Node::List(rows)) => rows.iter().map(texts).collect(),
            other => panic!("{key} is {other:?}"),
        }
    }
}

fn texts(list: &Node) -> Vec<String> {
    let Node::List(items) = list else {
        panic!("{list:?} is no list");
    };
    items
        .iter()
        .map(|item| match item {
            Node::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        })
        .collect()
}

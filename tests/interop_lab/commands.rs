//! Command lines of the released `jmp`, many of them for the price of one start of Python.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::{
    embedded::POLL,
    support::{jmp::LIMIT, lines::Lines, python::Venv, python_file},
};

/// A Python process that runs them one by one. Killed when this is dropped.
pub(crate) struct Commands {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    errors: Lines,
}

impl Commands {
    /// For the client whose configuration is in this directory.
    pub(crate) fn start(venv: &Venv, configuration: &Path, home: &Path) -> Self {
        let mut child = Command::new(venv.python())
            .arg(python_file("many_commands.py"))
            .env_clear()
            .env("PATH", venv.bin(""))
            .env("HOME", home)
            .env("JMP_CLIENT_CONFIG_HOME", configuration)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("COLUMNS", "400")
            .env("NONINTERACTIVE", "1")
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let errors = Lines::default();
        errors.collect(child.stderr.take().unwrap());
        let (sender, answers) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        Self {
            child,
            stdin,
            answers,
            errors,
        }
    }

    /// Runs a command line, whose arguments are separated by spaces.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> (i64, String) {
        let words: Vec<_> = line.split(' ').collect();
        writeln!(self.stdin, "{}", json!(words)).unwrap();
        let answer = self.answers.recv_timeout(LIMIT);
        let answer = answer.unwrap_or_else(|_| panic!("{line}:\n{}", self.errors.text()));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let output = answer["output"].as_str().unwrap().to_owned();
        (answer["code"].as_i64().unwrap(), output)
    }

    /// The same to its good end.
    #[track_caller]
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let (code, output) = self.run(line);
        assert_eq!(code, 0, "{line}:\n{output}");
        output
    }

    /// The same of a command that prints JSON.
    #[track_caller]
    pub(crate) fn json(&mut self, line: &str) -> Value {
        let output = self.ok(line);
        serde_json::from_str(&output).unwrap_or_else(|why| panic!("{line}: {why} in {output}"))
    }

    /// The same of a command that prints a name on each line.
    #[track_caller]
    pub(crate) fn names(&mut self, line: &str) -> Vec<String> {
        self.ok(line).lines().map(str::to_owned).collect()
    }

    /// It fails, and says this.
    #[track_caller]
    pub(crate) fn refused(&mut self, line: &str, wanted: &str) {
        let (code, output) = self.run(line);
        assert!(
            code != 0 && output.contains(wanted),
            "{line}: {code}\n{output}"
        );
    }

    /// Runs it again and again until it prints what is wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, line: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let output = self.ok(line);
            if wanted(&output) {
                return output;
            }
            assert!(Instant::now() < end, "{line}, at last:\n{output}");
            std::thread::sleep(POLL);
        }
    }
}

/// How many exporters `jmp get exporters --with status -o json` shows as available, by number.
pub(crate) fn available(text: &str) -> usize {
    text.matches("\"status\": 2").count()
}

impl Drop for Commands {
    fn drop(&mut self) {
        // Also a command that hangs.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
    }
}

//! Hooks as real processes.

use std::{fs, time::Instant as Clock};

use futures::FutureExt;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::session::LogReader;

mod ending;
mod printing;
mod starting;

/// Longer than any of these hooks takes, shorter than a person's patience.
const SOON: Duration = Duration::from_secs(5);

struct Rig {
    logs: Arc<LogHub>,
    reader: LogReader,
    cut: watch::Sender<Option<Duration>>,
    dir: TempDir,
}

fn rig() -> Rig {
    let logs = Arc::new(LogHub::default());
    Rig {
        reader: logs.reader(),
        logs,
        cut: watch::Sender::new(None),
        dir: TempDir::new().unwrap(),
    }
}

fn hook(script: &str) -> config::Hook {
    config::Hook {
        script: script.into(),
        exec: None,
        timeout: 120,
        on_failure: config::OnFailure::default(),
    }
}

fn context(kind: Hook) -> HookContext {
    HookContext {
        kind,
        lease: "lease-1".into(),
        client: String::new(),
        host: "/run/rigd/hook.sock".into(),
        motd_file: Some("/run/rigd/motd".into()),
    }
}

fn failed(text: &str) -> Outcome {
    Outcome::Failed(text.into())
}

impl Rig {
    async fn run(&self, hook: &config::Hook) -> Outcome {
        let (logs, cut) = (self.logs.clone(), self.cut.subscribe());
        let running = run(hook, context(Hook::Before), logs, cut);
        timeout(SOON, running).await.expect("an end")
    }

    async fn run_within(&self, limits: Limits, hook: &config::Hook) -> Outcome {
        let (logs, cut) = (self.logs.clone(), self.cut.subscribe());
        let cx = context(Hook::After);
        let running = run_within(limits, hook, &cx, logs, cut);
        timeout(SOON, running).await.expect("an end")
    }

    /// What was printed and not read yet.
    fn printed(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.reader.next().now_or_never().flatten())
            .map(|line| line.message)
            .collect()
    }

    fn spawn(&self, script: &str) -> tokio::task::JoinHandle<Outcome> {
        let (hook, logs, cut) = (hook(script), self.logs.clone(), self.cut.subscribe());
        tokio::spawn(async move {
            let running = run(&hook, context(Hook::Before), logs, cut);
            timeout(SOON, running).await.expect("an end")
        })
    }

    async fn line(&mut self) -> String {
        let line = timeout(SOON, self.reader.next());
        line.await.expect("a line").unwrap().message
    }

    /// Skips what a shell says of the signals of its children.
    async fn wait_for(&mut self, text: &str) {
        while self.line().await != text {}
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

/// Whether nothing of this process runs any more. A zombie that nobody reaps does not run.
fn is_gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

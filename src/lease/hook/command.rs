//! How a hook is started: which interpreter, with which arguments, environment and terminal.

use std::{ffi::OsStr, io, path::Path, process::Stdio, sync::Arc};

use tokio::process::Command;

use super::{Group, HookContext, HookError, Output};
use crate::{config, lease::machine::Hook, session::LogHub};

/// What the daemon's environment holds for the daemon alone: a prompt, the service manager's socket
/// and descriptors (a hook that answered it would speak for the daemon), and a file that a daemon
/// started in a hook inherited.
const NOT_INHERITED: [&str; 8] = [
    "PS1",
    "JMP_MOTD_FILE",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A hook that runs.
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) output: Output,
}

/// Starts a hook as the leader of a process group.
pub(super) fn start(
    hook: &config::Hook,
    cx: &HookContext,
    logs: Arc<LogHub>,
) -> Result<Started, HookError> {
    let (output, terminal) = Output::open(logs, cx.source()).map_err(HookError::Terminal)?;
    let mut command = command(hook, cx);
    let ends = || io::Result::Ok((terminal.try_clone()?, terminal.try_clone()?));
    let (stdin, stdout) = ends().map_err(HookError::Terminal)?;
    command
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(terminal));
    let group = Group::spawn(&mut command).map_err(|source| HookError::Start {
        program: command.as_std().get_program().to_string_lossy().into(),
        source,
        remedy: match &hook.exec {
            Some(_) => "`exec` must name a program that may be executed",
            None if command.as_std().get_program() == PYTHON => {
                "a .py script needs python3 in PATH, or `exec`"
            }
            None => "the host must provide it, or `exec` name another interpreter",
        },
    })?;
    // The command holds the far end of the terminal; while it lives, the output has no end.
    drop(command);
    Ok(Started { group, output })
}

const PYTHON: &str = "python3";
const SHELL: &str = "/bin/sh";

/// The command without its terminal. Nothing secret: arguments are visible to every user.
pub(super) fn command(hook: &config::Hook, cx: &HookContext) -> Command {
    let line = hook.script.trim();
    let file = Some(Path::new(line)).filter(|path| !line.contains('\n') && path.is_file());
    let is_python = |path: &Path| {
        path.extension()
            .and_then(OsStr::to_str)
            .is_some_and(|extension| extension.eq_ignore_ascii_case("py"))
    };
    let interpreter = match (&hook.exec, file) {
        (Some(exec), _) => exec.as_str(),
        (None, Some(path)) if is_python(path) => PYTHON,
        (None, _) => SHELL,
    };
    let mut command = Command::new(interpreter);
    match file {
        Some(path) => command.arg(path),
        None => command.arg("-c").arg(&hook.script),
    };
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
        .env("JUMPSTARTER_HOST", &cx.host)
        // Its clients load the drivers' client classes from this host, which it trusts.
        .env("JMP_DRIVERS_ALLOW", "UNSAFE")
        .env("LEASE_NAME", &cx.lease)
        .env("CLIENT_NAME", &cx.client)
        // A terminal is there for line buffering; nobody answers questions on it.
        .env("TERM", "dumb")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("GIT_TERMINAL_PROMPT", "0");
    if let (Hook::Before, Some(motd)) = (cx.kind, &cx.motd_file) {
        command.env("JMP_MOTD_FILE", motd);
    }
    command
}

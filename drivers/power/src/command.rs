//! A power switch behind programs of the lab host.
//!
//! A program runs without a shell, in a process group of its own, for a limited time. Secrets come
//! to it by its environment, from files: what is in the arguments every user of the host can read.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError, Value};
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    Outlet, Reading, Secret, Switch, Switching, json,
    settings::{check_timeout, limit, load_secret},
    web,
};

/// What of a program's output is kept.
const MAX_OUTPUT: u64 = 64 * 1024;
/// How long output is read after the program has exited: something it left behind may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A power switch that is told on and off by programs of the lab host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CommandConfig {
    /// Program and arguments that switch on. There is no shell: each item is one argument. It must
    /// exit with 0.
    pub turn_on: Vec<String>,
    /// Program and arguments that switch off.
    pub turn_off: Vec<String>,
    /// Program and arguments that print `on` or `off` (or `1` or `0`), if there is a way to know.
    /// Without it the state is what was last told.
    pub state: Option<Vec<String>>,
    /// Program and arguments that print `{"voltage": 5.0, "current": 0.4}`.
    pub read: Option<Vec<String>>,
    /// Environment of the programs, beside PATH, HOME and LANG.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are the contents of files: the place for secrets.
    #[serde(default)]
    pub env_files: BTreeMap<String, PathBuf>,
    /// What the programs talk to, e.g. `pdu-1`. One program runs at a time for all instances with the
    /// same name; by default each instance stands alone.
    pub device: Option<String>,
    /// Seconds that a program may take; then its whole process group is killed.
    #[serde(default = "ten")]
    pub timeout: f64,
    /// What all network switches share. Programs are never repeated.
    #[serde(default)]
    pub switching: Switching,
}

fn ten() -> f64 {
    10.0
}

/// A power switch of programs.
pub type CommandPower = Switch<CommandOutlet>;

/// The programs of a [`CommandPower`].
#[derive(Debug)]
pub struct CommandOutlet {
    config: CommandConfig,
    secrets: Vec<(String, Secret)>,
    address: String,
}

impl Outlet for CommandOutlet {
    const TYPE: &'static str = "power.command";
    type Config = CommandConfig;

    fn switching(config: &CommandConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &CommandConfig) -> Result<(), ConfigError> {
        let commands = [
            ("turnOn", Some(&config.turn_on)),
            ("turnOff", Some(&config.turn_off)),
            ("state", config.state.as_ref()),
            ("read", config.read.as_ref()),
        ];
        for (key, command) in commands {
            if command.is_some_and(|command| command.first().is_none_or(String::is_empty)) {
                let text = "names no program; write [/path/of/program, argument, …]";
                return Err(ConfigError::new(key, text));
            }
        }
        for (name, path) in &config.env_files {
            if path.is_relative() || config.env.contains_key(name) {
                let text = format!("{name} needs one absolute path, and no place in `env`");
                return Err(ConfigError::new("envFiles", text));
            }
        }
        check_timeout(config.timeout)
    }

    async fn open(config: &CommandConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let mut secrets = Vec::new();
        for (name, path) in &config.env_files {
            if let Some(secret) = load_secret(name, None, Some(path)).await? {
                secrets.push((name.clone(), secret));
            }
        }
        let address = match &config.device {
            Some(device) => format!("command {device}"),
            None => format!("command {}", cx.uuid()),
        };
        Ok(Self {
            config: config.clone(),
            secrets,
            address,
        })
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn limit(&self) -> Duration {
        limit(self.config.timeout)
    }

    fn repeatable(&self, _: bool) -> bool {
        false
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let config = &self.config;
        self.run(if on {
            &config.turn_on
        } else {
            &config.turn_off
        })
        .await?;
        self.get().await
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let Some(command) = &self.config.state else {
            return Ok(None);
        };
        let printed = self.run(command).await?;
        match printed.trim().to_ascii_lowercase().as_str() {
            "on" | "1" => Ok(Some(true)),
            "off" | "0" => Ok(Some(false)),
            _ => Err(DriverError::Device(format!(
                "{} printed {} instead of on or off",
                command[0],
                web::excerpt(&printed)
            ))),
        }
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        let Some(command) = &self.config.read else {
            let text = "power.command: no `read` program is configured";
            return Err(DriverError::Unimplemented(text.into()));
        };
        let printed = self.run(command).await?;
        let value: Value = serde_json::from_str(&printed).unwrap_or_default();
        let found = |key: &str| json::number_at(&value, key);
        match (found("voltage"), found("current")) {
            (Some(voltage), Some(current)) => Ok(Reading { voltage, current }),
            _ => Err(DriverError::Device(format!(
                "{} printed {} instead of {{\"voltage\": …, \"current\": …}}",
                command[0],
                web::excerpt(&printed)
            ))),
        }
    }
}

impl CommandOutlet {
    /// Runs a program to its end and gives what it printed. Dropped, it kills the group: the time
    /// limit is the switch's.
    async fn run(&self, command: &[String]) -> Result<String, DriverError> {
        let (program, arguments) = command.split_first().unwrap_or((&self.address, &[]));
        let failed = |what: &str, error: &std::io::Error| {
            DriverError::Device(format!("{program}: {what}: {error}"))
        };
        let mut build = Command::new(program);
        build.args(arguments).env_clear();
        for name in ["PATH", "HOME", "LANG"] {
            build.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        build.envs(&self.config.env);
        build.envs(
            self.secrets
                .iter()
                .map(|(name, secret)| (name, secret.show())),
        );
        build.stdin(Stdio::null());
        build.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut build).map_err(|e| failed("cannot be started", &e))?;
        let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
        let mut said = [Vec::new(), Vec::new()];
        let [out_said, err_said] = &mut said;
        let reading = async { tokio::join!(drain(out, out_said), drain(err, err_said)) };
        let status = {
            let mut reading = std::pin::pin!(reading);
            // cancel-safe: reading goes on below, waiting starts anew and finds the same status.
            let early = tokio::select! {
                _ = &mut reading => None,
                status = group.child.wait() => Some(status),
            };
            match early {
                Some(status) => {
                    group.exited();
                    timeout(LAST_WORDS, reading).await.ok();
                    status
                }
                None => group.child.wait().await,
            }
        };
        let status = status.map_err(|e| failed("cannot be waited for", &e))?;
        group.exited();
        let [out, err] = said.map(|said| String::from_utf8_lossy(&said).into_owned());
        if status.success() {
            return Ok(out);
        }
        let words = if err.trim().is_empty() { &out } else { &err };
        Err(DriverError::Device(format!(
            "{program} failed with {}: {}",
            shown(status),
            web::excerpt(words.trim())
        )))
    }
}

fn shown(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// Reads to the end, and keeps the beginning.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    // What cannot be read was not said.
    (&mut pipe).take(MAX_OUTPUT).read_to_end(said).await.ok();
    tokio::io::copy(&mut pipe, &mut tokio::io::sink())
        .await
        .ok();
}

/// A running process group; killed when it is dropped.
struct Group {
    child: Child,
    pid: Option<Pid>,
}

impl Group {
    fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, pid })
    }

    /// The program has exited by itself and is reaped; what it left running may go on, and its
    /// number may be another's by now.
    fn exited(&mut self) {
        self.pid = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // Gone already is as good.
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

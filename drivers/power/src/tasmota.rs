//! Devices with the Tasmota firmware over an MQTT broker.
//!
//! A word on the command topic switches, and the device says the new state on its state topic: it
//! does so after each command, also when nothing changed
//! (<https://tasmota.github.io/docs/MQTT/#command-flow>). So a message that comes after the command
//! confirms it, and an old one does not.

use std::{path::PathBuf, time::Duration};

use rand::Rng as _;
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::watch, time::timeout};

use crate::{
    AtLease, Outlet, Secret, Switch, Switching,
    mqtt::{Account, Heard, Link, Place},
    outlet::word,
    settings::{check_secret, check_timeout, limit, load_secret},
};

/// Longest topic that is taken; MQTT allows 65535 bytes.
const MAX_TEXT: usize = 1024;

/// A relay of a device with the Tasmota firmware, over an MQTT broker.
///
/// The outlet is switched off at both ends of a lease unless `switching` says otherwise, as the
/// Python driver does. `state` is what the device said last on its state topic.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TasmotaConfig {
    /// Host name or address of the broker; with `transport: unix` the path of its socket.
    pub host: String,
    /// Port of the broker.
    #[serde(default = "port")]
    pub port: u16,
    /// Whether the connection is encrypted; the broker's certificate is checked against those that the
    /// lab host trusts.
    #[serde(default = "yes")]
    pub tls: bool,
    /// `tcp` or `unix`.
    #[serde(default)]
    pub transport: Transport,
    /// Name towards the broker; by default one that is made up anew each time.
    pub client_id: Option<String>,
    /// User at the broker.
    pub username: Option<String>,
    /// Password at the broker.
    pub password: Option<Secret>,
    /// Absolute path of a file with the password.
    #[serde(rename = "passwordFile")]
    pub password_file: Option<PathBuf>,
    /// Topic that `ON` and `OFF` are published on, e.g. `cmnd/plug-1/POWER`.
    pub cmnd_topic: String,
    /// Topic on which the device says its state, e.g. `stat/plug-1/POWER`.
    pub stat_topic: String,
    /// Seconds for a switch: until the broker has the command and the device has confirmed it. 10
    /// when nothing is given.
    pub timeout: Option<f64>,
    /// Whether a device that does not confirm is an error for the client. Without it that is only
    /// logged and the call succeeds, as the Python driver does.
    #[serde(default = "yes")]
    pub strict: bool,
    /// What all network switches share.
    #[serde(default)]
    pub switching: Switching,
}

/// What the connection to the broker is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// A unix socket of the lab host.
    Unix,
    /// Websockets; not supported.
    Websockets,
}

fn port() -> u16 {
    1883
}

fn yes() -> bool {
    true
}

/// A relay of a Tasmota device, over MQTT.
pub type TasmotaPower = Switch<TasmotaOutlet>;

/// The messages of a [`TasmotaPower`].
#[derive(Debug)]
pub struct TasmotaOutlet {
    link: Link,
    broker: String,
    command: String,
    state: String,
    limit: Duration,
    strict: bool,
}

impl Outlet for TasmotaOutlet {
    const TYPE: &'static str = "power.tasmota";
    const AT_LEASE: AtLease = AtLease::Off;
    type Config = TasmotaConfig;

    fn switching(config: &TasmotaConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &TasmotaConfig) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: &str| Err(ConfigError::new(key, text));
        if config.host.is_empty() {
            return wrong("host", "needs a host name or an IP address of the broker");
        }
        match config.transport {
            Transport::Websockets => {
                let text = "websockets are not supported; brokers listen on TCP as well: use tcp";
                return wrong("transport", text);
            }
            Transport::Unix if config.tls => {
                return wrong(
                    "tls",
                    "a unix socket needs no encryption; write `tls: false`",
                );
            }
            Transport::Unix if !config.host.starts_with('/') => {
                return wrong("host", "needs the absolute path of the broker's socket");
            }
            Transport::Tcp if config.port == 0 => {
                return wrong("port", "port 0 cannot be connected to; use 1 to 65535");
            }
            _ => {}
        }
        // MQTT 3.1.1, section 4.7: wildcards are for subscriptions.
        let command = &config.cmnd_topic;
        if command.is_empty() || command.contains(['#', '+', '\0']) || command.len() > MAX_TEXT {
            return wrong("cmnd_topic", "is no topic that can be published on");
        }
        let state = &config.stat_topic;
        if state.is_empty() || state.contains('\0') || state.len() > MAX_TEXT {
            return wrong("stat_topic", "is no topic");
        }
        if config.password.is_some() || config.password_file.is_some() {
            check_secret(
                "password",
                config.password.as_ref(),
                config.password_file.as_ref(),
            )?;
            if config.username.is_none() {
                return wrong("username", "MQTT has no password without a user");
            }
        }
        config.timeout.map_or(Ok(()), check_timeout)
    }

    async fn open(config: &TasmotaConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let (host, port) = (config.host.clone(), config.port);
        let place = match config.transport {
            Transport::Unix => Place::Unix(host),
            _ if config.tls => {
                // Hundreds of files with certificates.
                let made = cx.blocking(move || Place::tls(host, port).map_err(OpenError::Faulty));
                made.await?
            }
            _ => Place::Tcp { host, port },
        };
        let (inline, file) = (config.password.as_ref(), config.password_file.as_ref());
        let made_up = || format!("rigd-{:012x}", rand::rng().next_u64() >> 16);
        let broker = place.shown();
        let account = Account {
            place,
            id: config.client_id.clone().unwrap_or_else(made_up),
            user: config.username.clone(),
            password: load_secret("password", inline, file).await?,
            topic: config.stat_topic.clone(),
        };
        let (link, runner) = Link::open(account).await.map_err(OpenError::Absent)?;
        cx.tasks().spawn(runner.run());
        Ok(Self {
            link,
            broker,
            command: config.cmnd_topic.clone(),
            state: config.stat_topic.clone(),
            limit: limit(config.timeout.unwrap_or(10.0)),
            strict: config.strict,
        })
    }

    fn address(&self) -> String {
        // The broker copes with many; the device is behind the topic.
        format!("mqtt {} {}", self.broker, self.command)
    }

    fn limit(&self) -> Duration {
        // The wait for the confirmation ends by itself, with a reason.
        self.limit + Duration::from_secs(1)
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let payload = if on { "ON" } else { "OFF" };
        let mut heard = self.link.heard.clone();
        let before = heard.borrow_and_update().count;
        let work = async {
            self.link.publish(&self.command, payload).await?;
            self.confirmed(&mut heard, before, payload).await
        };
        match timeout(self.limit, work).await {
            Ok(done) => done.map(|()| Some(on)),
            Err(_) => Err(self.unconfirmed(on)),
        }
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        self.link.up()?;
        let heard = self.link.heard.borrow();
        Ok(match heard.payload.as_deref() {
            Some(b"ON") => Some(true),
            Some(b"OFF") => Some(false),
            _ => None,
        })
    }

    fn failed(&self, on: bool, error: DriverError) -> Result<(), DriverError> {
        if self.strict || !matches!(error, DriverError::Timeout(_)) {
            return Err(error);
        }
        tracing::error!("not confirmed that it is {}: {error}", word(on));
        Ok(())
    }
}

impl TasmotaOutlet {
    /// Until the device says so after the command, or the connection is lost.
    async fn confirmed(
        &self,
        heard: &mut watch::Receiver<Heard>,
        before: u64,
        payload: &str,
    ) -> Result<(), DriverError> {
        let mut health = self.link.health.clone();
        let said = |heard: &Heard| {
            heard.count > before && heard.payload.as_deref() == Some(payload.as_bytes())
        };
        // cancel-safe: both arms only wait.
        tokio::select! {
            _ = heard.wait_for(said) => Ok(()),
            _ = health.wait_for(|health| *health != crate::mqtt::Health::Up) => self.link.up(),
        }
    }

    fn unconfirmed(&self, on: bool) -> DriverError {
        let last = self.link.heard.borrow().payload.clone();
        let last = last.map_or("nothing".into(), |last| {
            crate::web::excerpt(&String::from_utf8_lossy(&last))
        });
        DriverError::Timeout(format!(
            "switch {}: no confirmation on {} within {} s, there was {last}; is the device on, in the \
             network, and are both topics right?",
            word(on),
            self.state,
            self.limit.as_secs_f64()
        ))
    }
}

//! `sdmux.switch`: a mux that another instance switches: a GPIO line, a relay, the power of a hub's port.

use std::{sync::Arc, time::Duration};

use rigd_device::{Class, DeviceMatch, FindError, Host, wake_on};
use rigd_driver::{
    Call, ConfigError, Delay, DriverError, Instance, Key, KeyKind, KeyOwner, MethodKind, OpenCx,
    OpenError, Value,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::sleep;

use crate::{CardSettings, Mux, Side, config::mux_config, mux::FindDisk};

/// The child that switches.
const CHILD: &str = "switch";
/// What most relays and analogue switches are done within.
const SWITCH_TIME: Delay = Delay(Duration::from_millis(100));

mux_config! {
    /// A card or a stick behind a mux that another instance switches.
    ///
    /// The child `switch` is any output or power switch: `gpio.output` for the select pin of a mux board, a relay for one
    /// that is built of relays, the power of a hub's port for a stick behind a USB switch that follows it. `host` says in which
    /// of its states the host has the card. `off` is `host`: the mux has two positions.
    ///
    /// The child's keys and limits stay what they are, such as the shortest off-time of a power switch. A lease that starts
    /// may switch it as its own page says, so `onLeaseStart: keep` is right for most. Callers may ask the child for its state
    /// but not switch it: that would take the card from under a write, or give the board an incomplete one.
    pub struct SwitchMuxConfig {
        /// The state of the child `switch` in which the host has the card: `on` or `off`. Default `on`.
        #[serde(default)]
        pub host: State,
        /// The card's disk by what its reader, or the stick, says of itself, in place of `storage_device`.
        #[serde(default, rename = "match")]
        pub matching: Option<DeviceMatch>,
        /// How long the mux takes to switch.
        #[serde(default = "switch_time", rename = "switchTime")]
        pub switch_time: Delay,
    }
}

/// A state of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum State {
    /// `true` is on, which is what YAML makes of `on` without quotes.
    Flag(bool),
    /// `on` or `off`.
    Word(Word),
}

/// A state in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Switched on.
    On,
    /// Switched off.
    Off,
}

impl Default for State {
    fn default() -> Self {
        Self::Flag(true)
    }
}

impl State {
    fn is_on(self) -> bool {
        matches!(self, Self::Flag(true) | Self::Word(Word::On))
    }
}

fn switch_time() -> Delay {
    SWITCH_TIME
}

/// A mux that a child switches.
pub struct SwitchMux {
    switch: Arc<Instance>,
    on_at_host: bool,
    switch_time: Duration,
    matching: DeviceMatch,
}

impl Mux for SwitchMux {
    const TYPE: &'static str = "sdmux.switch";
    type Config = SwitchMuxConfig;

    fn card(config: &SwitchMuxConfig) -> CardSettings {
        config.card()
    }

    fn check(config: &SwitchMuxConfig) -> Result<(), ConfigError> {
        match (&config.storage_device, &config.matching) {
            (Some(_), None) => Ok(()),
            (None, Some(matching)) => matching.check().map_err(|error| {
                let key = format!("match.{}", error.key);
                ConfigError::new(key.trim_end_matches('.'), error.message)
            }),
            (None, None) => {
                let text = "which disk is the card? write `storage_device` or `match`";
                Err(ConfigError::new("", text))
            }
            (Some(_), Some(_)) => {
                let text = "stands beside `storage_device`: one of them is enough";
                Err(ConfigError::new("match", text))
            }
        }
    }

    async fn open(config: &SwitchMuxConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        // The disk comes and goes with the mux; only the reader's own troubles are heard here.
        wake_on(cx, &[Class::Block]);
        let missing = || {
            let text = "there is no child `switch`: write the output or power switch that switches the mux below `children:`";
            OpenError::Faulty(text.into())
        };
        let switch = cx.child(CHILD).ok_or_else(missing)?.clone();
        let methods = switch.blueprint().methods();
        let path = cx.path();
        switch.reserve(format!(
            "it moves the card of {path}; call {path}.host or {path}.dut"
        ));
        let has = |method: &str| methods.contains(&(method, MethodKind::Call));
        if !(has("on") && has("off")) {
            let child = switch.blueprint().type_name();
            let text = format!("its child `switch` is a {child}, which has no `on` and `off`");
            return Err(OpenError::Faulty(text));
        }
        Ok(Self {
            switch,
            on_at_host: config.host.is_on(),
            switch_time: config.switch_time.0,
            matching: config.matching.clone().unwrap_or_default(),
        })
    }

    fn disk(&self) -> FindDisk {
        let wanted = self.matching.clone();
        Arc::new(move || {
            let found = Host::default().find(&wanted, Class::Block);
            let node = found.and_then(|disk| disk.node().map(std::path::Path::to_owned));
            node.map_err(|error| match error {
                FindError::Absent(text) => DriverError::Unavailable(text),
                error => DriverError::FailedPrecondition(format!("card unknown: {error}")),
            })
        })
    }

    async fn set(&self, call: &Call, side: Side) -> Result<(), DriverError> {
        let on = (side != Side::Dut) == self.on_at_host;
        let method = if on { "on" } else { "off" };
        self.call(&call.key().for_child(), method).await?;
        sleep(self.switch_time).await;
        Ok(())
    }

    /// What the child says of itself; one that only knows what it was told says that.
    async fn get(&self) -> Result<Option<Side>, DriverError> {
        let methods = self.switch.blueprint().methods();
        let has = |method: &str| methods.contains(&(method, MethodKind::Call));
        // Whoever wants to know, no lease is needed to ask.
        let owner = KeyOwner::issue(KeyKind::Daemon);
        let on = match () {
            () if has("state") => self.call(&owner.key(), "state").await?["on"].as_bool(),
            () if has("read_pin") => {
                let pin = self.call(&owner.key(), "read_pin").await?;
                pin.as_u64().map(|level| level != 0)
            }
            () => None,
        };
        Ok(on.map(|on| match on == self.on_at_host {
            true => Side::Host,
            false => Side::Dut,
        }))
    }
}

impl SwitchMux {
    async fn call(&self, key: &Key, method: &str) -> Result<Value, DriverError> {
        let answer = self.switch.call(key, None, method, Vec::new());
        // Boxed: the call of an instance within the call of an instance.
        Box::pin(answer).await
    }
}

#[cfg(test)]
mod tests;

//! Names of drivers: our short ones, and those of upstream's Python classes.
//!
//! The only place that knows both. A name is a native driver, an upstream driver that has no native
//! one yet, or unknown; the three get different answers.

mod stub;
mod upstream;

use rigd_driver::{Blueprint, Driver, MethodKind};
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::config::{Node, Problem, Span};
use stub::{Stub, StubConfig};

/// A native driver.
pub struct Entry {
    /// Short name.
    pub type_name: &'static str,
    /// Upstream's names for it.
    pub aliases: &'static [&'static str],
    /// Client class path.
    pub client: &'static str,
    /// Exported methods.
    pub methods: Vec<(&'static str, MethodKind)>,
    schema: fn() -> Value,
    parse: fn(&Node) -> Result<Blueprint, Vec<Problem>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("type_name", &self.type_name)
            .finish_non_exhaustive()
    }
}

impl Entry {
    fn of<D: Driver>(aliases: &'static [&'static str]) -> Self {
        Self {
            type_name: D::TYPE,
            aliases,
            client: D::CLIENT,
            methods: D::interface().methods().collect(),
            schema: schema::<D::Config>,
            parse: parse::<D>,
        }
    }

    /// JSON schema of its `config:`.
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// Reads and checks a `config:`.
    pub fn parse(&self, config: &Node) -> Result<Blueprint, Vec<Problem>> {
        (self.parse)(config)
    }
}

fn schema<C: schemars::JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator();
    generator.into_root_schema_for::<C>().to_value()
}

fn parse<D: Driver>(config: &Node) -> Result<Blueprint, Vec<Problem>> {
    let parsed: D::Config = crate::config::from_node(config)?;
    let blueprint = Blueprint::new::<D>(parsed);
    match blueprint.check() {
        Ok(()) => Ok(blueprint),
        Err(error) => Err(vec![Problem::new(error.message, place(config, &error.key))]),
    }
}

/// Where a key of `config` stands, given as `outer.inner`; as far down as the file has it.
fn place(config: &Node, key: &str) -> Span {
    let mut span = config.head;
    let mut node = config;
    for word in key.split('.') {
        let found = node
            .entries()
            .and_then(|e| e.iter().find(|(k, _)| k.as_str() == Some(word)));
        let Some((key, value)) = found else { break };
        span = key.span;
        node = value;
    }
    span
}

/// What a `type:` names.
#[derive(Debug)]
pub enum Resolved<'a> {
    /// A native driver.
    Driver(&'a Entry),
    /// Upstream's driver for another name of an instance.
    Proxy,
    /// An upstream driver that is not native yet.
    Upstream {
        /// Its client class path.
        client: &'static str,
    },
    /// Nothing we know.
    Unknown,
}

/// All drivers.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// The drivers of this build, by family.
    pub fn native() -> Self {
        use rigd_drivers_composite::Composite;
        use rigd_drivers_dutlink::{Dutlink, DutlinkConsole, DutlinkPower, DutlinkStorage};
        use rigd_drivers_gpio::{GpioInput, GpioOutput, GpioRelay};
        use rigd_drivers_network::{
            EchoNetwork, TcpNetwork, UdpNetwork, UnixNetwork, WebsocketNetwork,
        };
        use rigd_drivers_power::{
            CommandPower, EnergeniePower, HttpPower, MockPower, ShellyPower, SnmpPower,
            TasmotaHttpPower, TasmotaPower,
        };
        use rigd_drivers_relays::{
            HidRelay, HubPortPower, NoyitoHidPower, NoyitoSerialPower, Ykush,
        };
        use rigd_drivers_sdmux::{GadgetMux, SdMux, SdWire, SdWire3, SwitchMux, UsbSdMux};
        use rigd_drivers_serial::{NvDemux, Serial};
        use rigd_drivers_storage::{
            DiskStorage, FileMux, FileStore, MockFlasher, MockMux, MockMuxFlasher,
        };
        use rigd_drivers_virtual::Board;
        Self {
            entries: vec![
                Entry::of::<Composite>(&["jumpstarter_driver_composite.driver.Composite"]),
                Entry::of::<Dutlink>(&["jumpstarter_driver_dutlink.driver.Dutlink"]),
                Entry::of::<DutlinkConsole>(&["jumpstarter_driver_dutlink.driver.DutlinkSerial"]),
                Entry::of::<DutlinkPower>(&["jumpstarter_driver_dutlink.driver.DutlinkPower"]),
                Entry::of::<DutlinkStorage>(&[
                    "jumpstarter_driver_dutlink.driver.DutlinkStorageMux",
                ]),
                Entry::of::<GpioInput>(&["jumpstarter_driver_gpiod.driver.DigitalInput"]),
                Entry::of::<GpioOutput>(&["jumpstarter_driver_gpiod.driver.DigitalOutput"]),
                Entry::of::<EchoNetwork>(&["jumpstarter_driver_network.driver.EchoNetwork"]),
                Entry::of::<TcpNetwork>(&["jumpstarter_driver_network.driver.TcpNetwork"]),
                Entry::of::<UdpNetwork>(&["jumpstarter_driver_network.driver.UdpNetwork"]),
                Entry::of::<UnixNetwork>(&["jumpstarter_driver_network.driver.UnixNetwork"]),
                Entry::of::<WebsocketNetwork>(&[
                    "jumpstarter_driver_network.driver.WebsocketNetwork",
                ]),
                Entry::of::<CommandPower>(&[]),
                Entry::of::<EnergeniePower>(&["jumpstarter_driver_energenie.driver.EnerGenie"]),
                Entry::of::<GpioRelay>(&["jumpstarter_driver_gpiod.driver.PowerSwitch"]),
                Entry::of::<HidRelay>(&[]),
                Entry::of::<HttpPower>(&["jumpstarter_driver_http_power.driver.HttpPower"]),
                Entry::of::<MockPower>(&[
                    "jumpstarter_driver_power.driver.MockPower",
                    "jumpstarter_driver_power.driver.SyncMockPower",
                ]),
                Entry::of::<NoyitoHidPower>(&[
                    "jumpstarter_driver_noyito_relay.driver.NoyitoPowerHID",
                ]),
                Entry::of::<NoyitoSerialPower>(&[
                    "jumpstarter_driver_noyito_relay.driver.NoyitoPowerSerial",
                ]),
                Entry::of::<ShellyPower>(&[]),
                Entry::of::<SnmpPower>(&["jumpstarter_driver_snmp.driver.SNMPServer"]),
                Entry::of::<TasmotaPower>(&["jumpstarter_driver_tasmota.driver.TasmotaPower"]),
                Entry::of::<TasmotaHttpPower>(&[]),
                Entry::of::<HubPortPower>(&[]),
                Entry::of::<Ykush>(&["jumpstarter_driver_yepkit.driver.Ykush"]),
                Entry::of::<SdMux<GadgetMux>>(&[]),
                Entry::of::<SdMux<SdWire>>(&["jumpstarter_driver_sdwire.driver.SDWire"]),
                Entry::of::<SdMux<SdWire3>>(&[]),
                Entry::of::<SdMux<SwitchMux>>(&[]),
                Entry::of::<SdMux<UsbSdMux>>(&[]),
                Entry::of::<Serial>(&["jumpstarter_driver_pyserial.driver.PySerial"]),
                Entry::of::<NvDemux>(&["jumpstarter_driver_pyserial.nvdemux.driver.NVDemuxSerial"]),
                Entry::of::<DiskStorage>(&[]),
                Entry::of::<FileMux>(&[]),
                Entry::of::<FileStore>(&["jumpstarter_driver_opendal.driver.Opendal"]),
                Entry::of::<MockFlasher>(&["jumpstarter_driver_opendal.driver.MockFlasher"]),
                Entry::of::<MockMux>(&["jumpstarter_driver_opendal.driver.MockStorageMux"]),
                Entry::of::<MockMuxFlasher>(&[
                    "jumpstarter_driver_opendal.driver.MockStorageMuxFlasher",
                ]),
                Entry::of::<Board>(&[]),
            ],
        }
    }

    /// All native drivers, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a `type:` names.
    pub fn resolve(&self, name: &str) -> Resolved<'_> {
        if name == upstream::PROXY {
            return Resolved::Proxy;
        }
        let is = |entry: &&Entry| entry.type_name == name || entry.aliases.contains(&name);
        if let Some(entry) = self.entries.iter().find(is) {
            return Resolved::Driver(entry);
        }
        match upstream::client(name) {
            Some(client) => Resolved::Upstream { client },
            None => Resolved::Unknown,
        }
    }

    /// Every name that would be right.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone + '_ {
        let native = self
            .entries
            .iter()
            .flat_map(|e| e.aliases.iter().copied().chain([e.type_name]));
        native.chain(upstream::names())
    }

    /// A group without a device.
    pub fn composite(&self) -> Blueprint {
        Blueprint::new::<rigd_drivers_composite::Composite>(Default::default())
    }

    /// Stands in for an upstream driver with this client.
    pub fn stub(&self, client: &str) -> Blueprint {
        Blueprint::with_client::<Stub>(StubConfig {}, client.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        let registry = Registry::native();
        let mut names: Vec<_> = registry.names().collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
        assert!(registry.entries().is_sorted_by_key(|e| e.type_name));
    }

    #[test]
    fn the_three_kinds_of_names_are_told_apart() {
        let registry = Registry::native();
        let native = registry.resolve("jumpstarter_driver_pyserial.driver.PySerial");
        assert!(matches!(native, Resolved::Driver(e) if e.type_name == "serial"));
        let upstream = registry.resolve("jumpstarter_driver_vnc.driver.Vnc");
        assert!(matches!(upstream, Resolved::Upstream { client } if client.ends_with("VNClient")));
        assert!(matches!(registry.resolve("power.moc"), Resolved::Unknown));
        assert!(matches!(
            registry.resolve("jumpstarter_driver_composite.driver.Proxy"),
            Resolved::Proxy
        ));
    }
}

//! Upstream's drivers that have no native one yet, with the client class that drives each.

/// Upstream's driver for another name of an instance; we spell it `ref:`.
pub(super) const PROXY: &str = "jumpstarter_driver_composite.driver.Proxy";

/// Driver class and client class, both below their package's modules `driver` and `client` unless a
/// full path is given. From the released packages 0.9.0 and upstream's main of August 2026.
const DRIVERS: &[(&str, &str, &str)] = &[
    ("adb", "AdbServer", "AdbClient"),
    (
        "androidemulator",
        "AndroidEmulator",
        "AndroidEmulatorClient",
    ),
    ("ble", "BleWriteNotifyStream", "BleWriteNotifyStreamClient"),
    ("bt_peer", "BtPeer", "BtPeerClient"),
    ("can", "Can", "CanClient"),
    ("can", "IsoTpPython", "IsoTpClient"),
    ("can", "IsoTpSocket", "IsoTpClient"),
    ("corellium", "Corellium", "CorelliumClient"),
    ("cuttlefish", "Cuttlefish", "CuttlefishClient"),
    ("doip", "DoIP", "DoIPDriverClient"),
    ("dut_network", "DutNetwork", "DutNetworkClient"),
    ("esp32", "Esp32Flasher", "Esp32FlasherClient"),
    ("flashers", "BaseFlasher", "BaseFlasherClient"),
    ("flashers", "RCarS4Flasher", "BaseFlasherClient"),
    ("flashers", "TIJ784S4Flasher", "BaseFlasherClient"),
    ("http", "HttpServer", "HttpServerClient"),
    ("iscsi", "ISCSI", "ISCSIServerClient"),
    ("mitmproxy", "MitmproxyDriver", "MitmproxyClient"),
    ("network", "DbusNetwork", "DbusNetworkClient"),
    ("network", "VsockNetwork", "NetworkClient"),
    ("obd", "OBD", "OBDClient"),
    ("pi_pico", "PiPicoFlasher", "PiPicoClient"),
    ("probe_rs", "ProbeRs", "ProbeRsClient"),
    ("qemu", "Qemu", "QemuClient"),
    ("renode", "Renode", "RenodeClient"),
    ("ridesx", "RideSXDriver", "RideSXClient"),
    ("ridesx", "RideSXPowerDriver", "RideSXPowerClient"),
    ("shell", "Shell", "ShellClient"),
    ("someip", "SomeIp", "SomeIpDriverClient"),
    ("ssh", "SSHWrapper", "SSHWrapperClient"),
    (
        "ssh_mitm",
        "SSHMITM",
        "jumpstarter_driver_network.client.NetworkClient",
    ),
    ("ssh_mount", "SSHMount", "SSHMountClient"),
    ("stlink_msd", "StlinkMsdFlasher", "StlinkMsdFlasherClient"),
    ("tftp", "Tftp", "TftpServerClient"),
    ("tmt", "TMT", "TMTClient"),
    ("uboot", "UbootConsole", "UbootConsoleClient"),
    (
        "uds_can",
        "UdsCan",
        "jumpstarter_driver_uds.client.UdsClient",
    ),
    (
        "uds_doip",
        "UdsDoip",
        "jumpstarter_driver_uds.client.UdsClient",
    ),
    ("ustreamer", "UStreamer", "UStreamerClient"),
    ("video", "HttpVideo", "VideoClient"),
    ("vnc", "Vnc", "VNClient"),
    ("xcp", "Xcp", "XcpClient"),
];

struct Known {
    driver: &'static str,
    client: &'static str,
}

/// Full class paths, made once: they are looked up by the text of a file.
fn known() -> &'static [Known] {
    static KNOWN: std::sync::OnceLock<Vec<Known>> = std::sync::OnceLock::new();
    KNOWN.get_or_init(|| {
        let full = DRIVERS.iter().map(|(package, driver, client)| {
            let module = format!("jumpstarter_driver_{package}");
            let client = match client.contains('.') {
                true => (*client).to_owned(),
                false => format!("{module}.client.{client}"),
            };
            Known {
                driver: Box::leak(format!("{module}.driver.{driver}").into_boxed_str()),
                client: Box::leak(client.into_boxed_str()),
            }
        });
        full.collect()
    })
}

/// The client class of an upstream driver that is not native.
pub(super) fn client(driver: &str) -> Option<&'static str> {
    known()
        .iter()
        .find(|k| k.driver == driver)
        .map(|k| k.client)
}

/// Class paths of all of them.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    known().iter().map(|k| k.driver)
}

//! The keys that all muxes have, and how a mux on USB is named.

use rigd_device::{UsbId, UsbMatch};
use rigd_driver::ConfigError;

/// A configuration with the keys of its own and those about the card, and `card()`, which gathers the
/// latter.
macro_rules! mux_config {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$key_about:meta])* pub $key:ident: $kind:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$key_about])* pub $key: $kind,)*
            /// The card's disk, best by a name that stays: `/dev/disk/by-id/…` or `/dev/disk/by-path/…`. Muxes
            /// on USB find it by themselves: it is in their own hub, or their own.
            pub storage_device: Option<std::path::PathBuf>,
            /// How long to wait for the card after the switch to the host.
            #[serde(default = "crate::card::storage_timeout")]
            pub storage_timeout: rigd_driver::Delay,
            /// How long the card is left alone after a write: some go on working after they said that they were done.
            #[serde(default = "crate::card::storage_leeway")]
            pub storage_leeway: rigd_driver::Delay,
            /// How long what was written may take to reach the card.
            #[serde(default = "crate::card::fsync_timeout")]
            pub storage_fsync_timeout: rigd_driver::Delay,
            /// How images are written.
            #[serde(default)]
            pub flash: rigd_flash::FlashSettings,
        }

        impl $name {
            pub(crate) fn card(&self) -> crate::CardSettings {
                crate::CardSettings {
                    device: self.storage_device.clone(),
                    timeout: self.storage_timeout.0,
                    leeway: self.storage_leeway.0,
                    fsync: self.storage_fsync_timeout.0,
                    flash: self.flash.clone(),
                }
            }
        }
    };
}

pub(crate) use mux_config;

/// Vendor and product.
pub(crate) type Ids = (UsbId, UsbId);

/// A mux on USB by what its configuration says.
pub(crate) fn on_usb(
    (vendor, product): Ids,
    serial: &Option<String>,
    port: &Option<String>,
) -> UsbMatch {
    UsbMatch {
        vendor: Some(vendor),
        product: Some(product),
        serial: serial.clone(),
        port: port.clone(),
        ..UsbMatch::ANY
    }
}

/// Checks the keys `serial` and `port`, which are in no map of their own.
pub(crate) fn check_usb(wanted: &UsbMatch) -> Result<(), ConfigError> {
    wanted.check("").map_err(|error| {
        let key = error.key.trim_start_matches('.').to_owned();
        ConfigError::new(key, error.message)
    })
}

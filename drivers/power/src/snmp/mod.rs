//! PDUs over SNMP: one SET switches an outlet, a GET asks for its state.
//!
//! ```text
//!   ber      bytes          pdu      what is asked, and messages of v1 and v2c
//!   usm      messages of v3, keys, ciphers          client   one exchange over UDP
//! ```

mod ber;
mod client;
mod pdu;
mod usm;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError, Value};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Outlet, Secret, Switch, Switching,
    settings::{check_secret, check_timeout, limit, load_secret},
};
use client::Credentials;
use pdu::Ask;
use usm::{Auth, Priv, User};

/// RFC 3414, section 11.2.
const SHORTEST_PASSWORD: usize = 8;
/// A name server that does not answer must not look like a PDU that does not.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// An outlet of a PDU that is switched over SNMP, v1, v2c or v3; Raritan PX2 and later unless `oid`
/// says otherwise. v1 and v2c are unverified on hardware.
///
/// `state` is what the PDU answers for the same object.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnmpConfig {
    /// Host name or address of the PDU; its first IPv4 address is used, if it has one.
    pub host: String,
    /// Outlet; the last number of the object identifier.
    pub plug: u32,
    /// Version of the protocol: `v1`, `v2c` or `v3`.
    #[serde(default)]
    pub version: Version,
    /// User of v3.
    pub user: Option<String>,
    /// Community of v1 and v2c that may write.
    pub community: Option<Secret>,
    /// Absolute path of a file with the community.
    #[serde(rename = "communityFile")]
    pub community_file: Option<PathBuf>,
    /// UDP port.
    #[serde(default = "port")]
    pub port: u16,
    /// The object that switches, without the outlet. The default is `switchingOperation` of Raritan's
    /// PDU2-MIB at the first inlet; APC's `sPDUOutletCtl` is `1.3.6.1.4.1.318.1.1.4.4.2.1.3`.
    #[serde(default = "oid")]
    pub oid: String,
    /// What is written to switch on.
    #[serde(default = "on_value", rename = "onValue")]
    pub on_value: i32,
    /// What is written to switch off; 2 for APC.
    #[serde(default, rename = "offValue")]
    pub off_value: i32,
    /// How requests are authenticated in v3: `NONE`, `MD5` or `SHA`. With `NONE` there is no privacy either.
    #[serde(default)]
    pub auth_protocol: AuthProtocol,
    /// Password for authentication, at least 8 characters.
    pub auth_key: Option<Secret>,
    /// Absolute path of a file with that password.
    #[serde(rename = "authKeyFile")]
    pub auth_key_file: Option<PathBuf>,
    /// How requests are encrypted in v3: `NONE`, `DES` or `AES`.
    #[serde(default)]
    pub priv_protocol: PrivProtocol,
    /// Password for encryption, at least 8 characters.
    pub priv_key: Option<Secret>,
    /// Absolute path of a file with that password.
    #[serde(rename = "privKeyFile")]
    pub priv_key_file: Option<PathBuf>,
    /// Seconds for the whole exchange; requests are sent again each second.
    #[serde(default = "five")]
    pub timeout: f64,
    /// What all network switches share.
    #[serde(default)]
    pub switching: Switching,
}

/// Version of SNMP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// RFC 1157.
    V1,
    /// RFC 1901.
    V2c,
    /// RFC 3412.
    #[default]
    V3,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthProtocol {
    /// Not at all.
    #[default]
    None,
    /// HMAC-MD5-96.
    Md5,
    /// HMAC-SHA-96.
    Sha,
}

/// How requests are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PrivProtocol {
    /// Not at all.
    #[default]
    None,
    /// CBC-DES.
    Des,
    /// CFB128-AES-128.
    Aes,
}

fn port() -> u16 {
    161
}

fn oid() -> String {
    "1.3.6.1.4.1.13742.6.4.1.2.1.2.1".into()
}

fn on_value() -> i32 {
    1
}

fn five() -> f64 {
    5.0
}

/// An outlet behind SNMP.
pub type SnmpPower = Switch<SnmpOutlet>;

/// The requests of an [`SnmpPower`].
#[derive(Debug)]
pub struct SnmpOutlet {
    peer: SocketAddr,
    credentials: Credentials,
    oid: Vec<u32>,
    values: [i64; 2],
    limit: Duration,
}

impl Outlet for SnmpOutlet {
    const TYPE: &'static str = "power.snmp";
    const CLIENT: &'static str = "jumpstarter_driver_snmp.client.SNMPServerClient";
    // Its client class has no `read`.
    const READS: bool = false;
    type Config = SnmpConfig;

    fn switching(config: &SnmpConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &SnmpConfig) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: &str| Err(ConfigError::new(key, text));
        if config.host.is_empty() {
            return wrong("host", "needs a host name or an IP address");
        }
        if config.port == 0 {
            return wrong("port", "port 0 cannot be asked; use 1 to 65535");
        }
        if ber::parse_oid(&config.oid).is_none() {
            return wrong(
                "oid",
                "is no object identifier; write numbers as 1.3.6.1.4.1.318.1",
            );
        }
        if config.on_value == config.off_value {
            return wrong("offValue", "is the same as `onValue`");
        }
        let secrets = [
            ("community", &config.community, &config.community_file),
            ("auth_key", &config.auth_key, &config.auth_key_file),
            ("priv_key", &config.priv_key, &config.priv_key_file),
        ];
        for (name, inline, file) in secrets {
            check_secret(name, inline.as_ref(), file.as_ref())?;
        }
        let given =
            |inline: &Option<Secret>, file: &Option<PathBuf>| inline.is_some() || file.is_some();
        if config.version == Version::V3 {
            if config.user.as_ref().is_none_or(String::is_empty) {
                return wrong("user", "v3 needs the name of a user of the PDU");
            }
            let auth = config.auth_protocol != AuthProtocol::None;
            if auth && !given(&config.auth_key, &config.auth_key_file) {
                return wrong("auth_protocol", "needs `auth_key` or `authKeyFile`");
            }
            let privacy = auth && config.priv_protocol != PrivProtocol::None;
            if privacy && !given(&config.priv_key, &config.priv_key_file) {
                return wrong("priv_protocol", "needs `priv_key` or `privKeyFile`");
            }
        } else if !given(&config.community, &config.community_file) {
            return wrong("version", "v1 and v2c need `community` or `communityFile`");
        }
        check_timeout(config.timeout)
    }

    async fn open(config: &SnmpConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let mut oid = ber::parse_oid(&config.oid)
            .ok_or_else(|| OpenError::Faulty("oid is no object identifier".into()))?;
        oid.push(config.plug);
        Ok(Self {
            peer: resolve(&config.host, config.port).await?,
            credentials: credentials(config).await?,
            oid,
            values: [config.off_value, config.on_value].map(i64::from),
            limit: limit(config.timeout),
        })
    }

    fn address(&self) -> String {
        format!("snmp {}", self.peer)
    }

    fn limit(&self) -> Duration {
        // The exchange ends by itself, with a reason; this is for what it does not see.
        self.limit + Duration::from_secs(1)
    }

    fn repeatable(&self, _: bool) -> bool {
        // An exchange repeats by itself for all of its time.
        false
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        self.ask(Some(self.values[usize::from(on)])).await?;
        Ok(None)
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let found = self.ask(None).await?;
        let state = |on: &bool| found == Some(self.values[usize::from(*on)]);
        Ok([true, false].into_iter().find(state))
    }

    fn done(on: bool) -> Value {
        let word = if on { "ON" } else { "OFF" };
        format!("Power {word} command sent successfully").into()
    }
}

impl SnmpOutlet {
    async fn ask(&self, set: Option<i64>) -> Result<Option<i64>, DriverError> {
        let ask = Ask {
            oid: self.oid.clone(),
            set,
        };
        client::ask(self.peer, &self.credentials, &ask, self.limit).await
    }
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, OpenError> {
    let absent = |why: &dyn std::fmt::Display| {
        OpenError::Absent(format!(
            "{host} cannot be resolved: {why}; is `host` right?"
        ))
    };
    let found = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| absent(&"the name server does not answer"))?;
    let found: Vec<SocketAddr> = found.map_err(|e| absent(&e))?.collect();
    let v4 = found.iter().find(|address| address.is_ipv4());
    v4.or(found.first())
        .copied()
        .ok_or_else(|| absent(&"it has no address"))
}

async fn credentials(config: &SnmpConfig) -> Result<Credentials, OpenError> {
    let version = match config.version {
        Version::V1 => Some(0),
        Version::V2c => Some(1),
        Version::V3 => None,
    };
    if let Some(version) = version {
        let (inline, file) = (config.community.as_ref(), config.community_file.as_ref());
        let community = load_secret("community", inline, file).await?;
        let community = community.unwrap_or_else(|| Secret::new(""));
        return Ok(Credentials::Community(version, community));
    }
    let auth = match config.auth_protocol {
        AuthProtocol::None => None,
        AuthProtocol::Md5 => Some(Auth::Md5),
        AuthProtocol::Sha => Some(Auth::Sha),
    };
    let privacy = match config.priv_protocol {
        PrivProtocol::None => None,
        PrivProtocol::Des => Some(Priv::Des),
        PrivProtocol::Aes => Some(Priv::Aes),
    };
    let auth_key = password(
        "auth_key",
        config.auth_key.as_ref(),
        config.auth_key_file.as_ref(),
    );
    let priv_key = password(
        "priv_key",
        config.priv_key.as_ref(),
        config.priv_key_file.as_ref(),
    );
    let auth = match auth {
        Some(auth) => Some((auth, auth_key.await?)),
        None => None,
    };
    let privacy = match privacy.filter(|_| auth.is_some()) {
        Some(privacy) => Some((privacy, priv_key.await?)),
        None => None,
    };
    let name = config.user.clone().unwrap_or_default();
    Ok(Credentials::User(User {
        name,
        auth,
        privacy,
    }))
}

async fn password(
    name: &str,
    inline: Option<&Secret>,
    file: Option<&PathBuf>,
) -> Result<String, OpenError> {
    let secret = load_secret(name, inline, file).await?;
    let secret = secret.map_or_else(String::new, |secret| secret.show().to_owned());
    if secret.len() < SHORTEST_PASSWORD {
        let text = format!("{name}: SNMP wants at least {SHORTEST_PASSWORD} characters");
        return Err(OpenError::Faulty(text));
    }
    Ok(secret)
}

//! Tokens of the shape that released clients parse, and the files that carry them.
//!
//! They are compared as text, never verified.

use std::{fs, path::Path};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::json;

use super::NAMESPACE;

/// 2100-01-01: clients check it before they call.
const FAR_AWAY: u64 = 4_102_444_800;

/// What a caller calls itself in `jumpstarter-kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Exporter,
}

impl Kind {
    /// As the metadata has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
        }
    }
}

/// The token of an exporter or client; `lab` keeps those of two labs apart.
pub(super) fn identity(lab: &str, kind: Kind, name: &str) -> String {
    let kind = kind.name().to_lowercase();
    token(&json!({
        "iss": "https://localhost:8085",
        "aud": ["jumpstarter"],
        "sub": format!("{kind}:{NAMESPACE}:{name}:{lab}"),
        "iat": 1_700_000_000,
        "exp": FAR_AWAY,
    }))
}

/// The token of one dial, the same for both sides.
pub(super) fn stream(lab: &str, number: u64) -> String {
    token(&json!({
        "iss": "https://jumpstarter.dev/stream",
        "aud": ["https://jumpstarter.dev/router"],
        "sub": format!("{lab}-{number}"),
        "exp": FAR_AWAY,
    }))
}

fn token(payload: &serde_json::Value) -> String {
    let header = json!({"alg": "ES256", "kid": "default", "typ": "JWT"});
    let part = |it: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(it.to_string());
    // As long as a signature of that algorithm.
    let signature = BASE64_URL_SAFE_NO_PAD.encode([0x5a; 64]);
    format!("{}.{}.{signature}", part(&header), part(payload))
}

pub(super) fn ca_base64(ca_pem: &str) -> String {
    BASE64_STANDARD.encode(ca_pem)
}

/// The parts of a configuration file in which exporters and clients agree.
pub(super) fn config(kind: Kind, name: &str, endpoint: &str, ca_pem: &str, token: &str) -> String {
    format!(
        "apiVersion: jumpstarter.dev/v1alpha1\n\
         kind: {}Config\n\
         metadata: {{namespace: {NAMESPACE}, name: {name}}}\n\
         endpoint: {endpoint}\n\
         tls: {{ca: {}, insecure: false}}\n\
         token: {token}\n",
        kind.name(),
        ca_base64(ca_pem),
    )
}

/// What `JMP_CLIENT_CONFIG_HOME` names: a client that is the current one and the default.
pub(super) fn write_client_home(dir: &Path, client: &str) {
    let user = "apiVersion: jumpstarter.dev/v1alpha1\n\
                kind: UserConfig\n\
                config: {current-client: default}\n";
    fs::create_dir_all(dir.join("clients")).unwrap();
    fs::write(dir.join("clients/default.yaml"), client).unwrap();
    fs::write(dir.join("config.yaml"), user).unwrap();
}

//! The lab's own client: what the first command prints works with it, and it is in nobody's own
//! configuration.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use rigd_controller::{
    admin,
    auth::{Kind, Token},
    config_files::{self, Access},
    engine::Engine,
};
use tonic::Status;

/// Its name, and that of its file: what `jumpstarter-testing` looks for.
const NAME: &str = "default";

/// Writes `STATE/client`, with the token of the last start as long as it is good.
pub(super) async fn write(
    engine: &Engine,
    state: &Path,
    endpoint: &str,
    ca: &str,
) -> Result<PathBuf, OwnClientError> {
    let file = state.join("client/clients").join(format!("{NAME}.yaml"));
    let before = config_files::token_of(&file).filter(|token| is_good(engine, token));
    let token = match before {
        Some(token) => token,
        None => admin::own_client(engine, NAME).await?.token,
    };
    let access = Access {
        namespace: engine.namespace().to_owned(),
        name: NAME.to_owned(),
        endpoint: endpoint.to_owned(),
        ca: ca.to_owned(),
        token,
    };
    Ok(config_files::write_own_client(state, &access)?)
}

fn is_good(engine: &Engine, token: &Token) -> bool {
    let Ok(identity) = engine.tokens().verify(token, SystemTime::now()) else {
        return false;
    };
    let subject = &identity.subject;
    let ours = subject.kind == Kind::Client
        && subject.name == NAME
        && subject.namespace == engine.namespace();
    let known = engine.read(|world| {
        let client = world.clients.get(NAME)?;
        Some(client.uid == subject.uid && client.tokens_from <= identity.issued)
    });
    ours && known == Some(true)
}

/// The lab's own client cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnClientError {
    /// By the controller.
    #[error("the controller has no client of its own: {}", .0.message())]
    Refused(#[from] Status),
    /// In the state directory.
    #[error(transparent)]
    File(#[from] config_files::ConfigFileError),
}

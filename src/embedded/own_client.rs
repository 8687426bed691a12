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

use super::Lab;

/// Its name, and that of its file: what `jumpstarter-testing` looks for.
pub(crate) const NAME: &str = "default";

/// The directory that `JMP_CLIENT_CONFIG_HOME` is to name, below the daemon's state.
pub(super) fn home(state: &Path) -> PathBuf {
    state.join("client")
}

/// Its file.
pub(crate) fn file(state: &Path) -> PathBuf {
    home(state).join("clients").join(format!("{NAME}.yaml"))
}

impl Lab {
    /// Writes the file of the lab's own client, with the token in it as long as that is good.
    ///
    /// # Errors
    /// See [`OwnClientError`].
    pub(crate) async fn write_own_client(&self) -> Result<(), OwnClientError> {
        let before = config_files::token_of(&file(&self.state));
        let token = match before.filter(|token| is_good(&self.engine, token)) {
            Some(token) => token,
            None => admin::own_client(&self.engine, NAME).await?.token,
        };
        let access = Access {
            namespace: self.engine.namespace().to_owned(),
            name: NAME.to_owned(),
            endpoint: self.endpoint.clone(),
            ca: self.ca.clone(),
            token,
        };
        config_files::write_own_client(&self.state, &access)?;
        Ok(())
    }
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
pub(crate) enum OwnClientError {
    /// By the controller.
    #[error("the controller has no client of its own: {}", .0.message())]
    Refused(#[from] Status),
    /// In the state directory.
    #[error(transparent)]
    File(#[from] config_files::ConfigFileError),
}

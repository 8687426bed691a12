//! The running daemon, as the commands that ask it something see it.

use std::{fmt, path::PathBuf, time::Duration};

use tokio::{runtime, time::timeout};
use tonic::{Code, Response, Status};

use super::Failure;
use crate::{
    config::Settings,
    control::client::{Client, connect, places},
    os::paths,
};

/// How long the daemon may take to answer what it answers from memory, and to begin everything
/// else. It waits 2 s itself for an exporter that hangs.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Which daemon a command asks.
#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// Control socket of the daemon. Without it: $RIGD_SOCKET, else control.sock in the user's
    /// runtime directory or in /run/rigd.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Daemon {
    /// Connects, and does `work`. A signal ends it with the process, and the daemon notices.
    pub(super) fn ask(
        self,
        work: impl AsyncFnOnce(Client) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let settings = Settings::load(&env).map_err(Failure::Usage)?;
        let places = self.places(&settings);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Runtime(error.into()))?;
        runtime.block_on(async {
            let client = connect(&places).await;
            work(client.map_err(|error| Failure::Runtime(error.into()))?).await
        })
    }

    /// Whether the caller named the daemon.
    pub(super) fn is_named(&self) -> bool {
        self.socket.is_some()
    }

    /// Where its socket may be.
    pub(super) fn places(self, settings: &Settings) -> Vec<PathBuf> {
        let env = |name: &str| std::env::var(name).ok();
        let variable = || env("RIGD_SOCKET").filter(|path| !path.is_empty());
        let named = self.socket.or_else(|| variable().map(PathBuf::from));
        let runtime_dir = settings.runtime_dir.clone();
        places(
            named,
            &runtime_dir.unwrap_or_else(|| paths::runtime_dir(&env)),
        )
    }
}

/// The answer to a question, within `limit`.
///
/// # Errors
/// What the daemon says, or that it says nothing.
pub(super) async fn answer<T>(
    limit: Duration,
    question: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match timeout(limit, question).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refused(&status)),
        Err(_) => Err(failed(format!(
            "the daemon does not answer within {} s",
            limit.as_secs()
        ))),
    }
}

/// What the daemon says went wrong.
pub(super) fn refused(status: &Status) -> Failure {
    failed(match (status.code(), status.message()) {
        (Code::Unimplemented, "") => {
            "the daemon does not know this command; is it an older rigd?".into()
        }
        (code, "") => code.description().to_owned(),
        (_, message) => message.to_owned(),
    })
}

/// A command did not do what it should, for this reason.
pub(super) fn failed(text: impl fmt::Display) -> Failure {
    Failure::Runtime(anyhow::Error::msg(text.to_string()))
}

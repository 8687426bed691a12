//! Consoles for people on the lab host: everybody may watch, and type while no client holds a lease.
//!
//! Typing is looked at frame by frame: a lease that begins takes the keyboard away from a person who
//! did not force it, and leaves the screen.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use rigd_driver::{ConsoleTap, Instance};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tracing::Instrument;

use super::{
    Runner,
    choose::{Kind, choose},
};
use crate::{
    daemon::handle::{ConsoleNews, OpenConsole},
    lease::machine::Lease,
    session::status_of,
};

const CONSOLE: Kind = Kind {
    one: "console",
    many: "consoles",
};

type News = mpsc::Sender<Result<ConsoleNews, Status>>;

impl Runner {
    /// Opens a console; what it does then goes on by itself.
    pub(super) fn console(&self, open: OpenConsole) {
        let found = self.find_console(&open);
        let keyboard = Keyboard {
            allowed: open.write,
            force: open.force,
            holder: self.holder.subscribe(),
        };
        let work = async move {
            let news = open.news.clone();
            let done = match found {
                Ok((path, tap)) => watch_console(path, tap, open, keyboard).await,
                Err(status) => Err(status),
            };
            if let Err(status) = done {
                // Whoever has gone needs no reason.
                news.send(Err(status)).await.ok();
            }
        };
        self.tasks.spawn(work.in_current_span());
    }

    fn find_console(&self, open: &OpenConsole) -> Result<(String, Arc<dyn ConsoleTap>), Status> {
        let is_console = |instance: &Instance| instance.console().is_some();
        let instance = choose(&self.served.tree, &open.path, CONSOLE, is_console)?;
        if open.write
            && !open.force
            && let Some(lease) = self.lease()
        {
            return Err(Status::failed_precondition(leased(&lease)));
        }
        let tap = instance.console();
        let tap = tap.ok_or_else(|| Status::unavailable("the console is being opened"))?;
        Ok((instance.path().to_owned(), tap))
    }
}

/// Whether a person may type.
struct Keyboard {
    allowed: bool,
    force: bool,
    holder: watch::Receiver<Option<Lease>>,
}

impl Keyboard {
    fn check(&self) -> Result<(), String> {
        if !self.allowed {
            return Err("the console was opened for reading".into());
        }
        match &*self.holder.borrow() {
            Some(lease) if !self.force => Err(leased(lease)),
            _ => Ok(()),
        }
    }
}

fn leased(lease: &Lease) -> String {
    format!(
        "leased to '{}' (lease {}); watch without --write, or type all the same with --force",
        lease.client, lease.name
    )
}

async fn watch_console(
    path: String,
    tap: Arc<dyn ConsoleTap>,
    open: OpenConsole,
    keyboard: Keyboard,
) -> Result<(), Status> {
    let OpenConsole {
        history,
        follow,
        write,
        input,
        news,
        ..
    } = open;
    tracing::info!(instance = path, write, "Console opened from the lab host.");
    if news.send(Ok(ConsoleNews::Opened(path))).await.is_err() {
        return Ok(());
    }
    let screen = pin!(show(&*tap, history, follow, &news));
    let typing = pin!(type_in(&*tap, input, keyboard, &news));
    // cancel-safe: when one has ended the person is gone or has all; half a frame typed is theirs.
    tokio::select! {
        () = screen => Ok(()),
        done = typing => done,
        () = news.closed() => Ok(()),
    }
}

async fn show(tap: &dyn ConsoleTap, history: usize, follow: bool, news: &News) {
    let record = tap.record();
    let mut reader = record.reader_of_last(history, 0);
    let end = record.position();
    while follow || reader.position() < end {
        let Some(heard) = reader.next_heard().await else {
            return;
        };
        if news.send(Ok(ConsoleNews::Heard(heard))).await.is_err() {
            return;
        }
    }
}

async fn type_in(
    tap: &dyn ConsoleTap,
    mut input: mpsc::Receiver<Bytes>,
    keyboard: Keyboard,
    news: &News,
) -> Result<(), Status> {
    while let Some(frame) = input.recv().await {
        if let Err(reason) = keyboard.check() {
            let told = news.send(Ok(ConsoleNews::NotSent(reason))).await;
            if told.is_err() {
                return Ok(());
            }
            continue;
        }
        let sent = tap.send(frame).await;
        sent.map_err(|error| status_of(&error))?;
    }
    // Nothing more is typed; the screen goes on.
    std::future::pending().await
}

//! An administrator who makes clients through the control socket.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper_util::rt::TokioIo;
use rigd_controller::model::World;
use rigd_proto::control::v1::{
    CreateRequest, Credentials, Kind, controller_client::ControllerClient,
};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use crate::{
    embedded::caller::{self, Caller},
    ledger::Ledger,
};

/// Clients that this test did not make: the lab's own one.
const OTHERS: usize = 1;

pub(crate) struct Admin {
    clients: Ledger<bool>,
    next: usize,
    /// Of clients whose making was acknowledged since the last look.
    fresh: BTreeMap<String, Credentials>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            clients: Ledger::new(),
            next: 0,
            fresh: BTreeMap::new(),
        }
    }
}

impl Admin {
    pub(crate) fn acknowledged(&self) -> usize {
        self.clients.acknowledged()
    }

    /// Until the daemon is killed.
    pub(crate) async fn work(mut self, socket: PathBuf, killed: Arc<AtomicBool>) -> Self {
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
        let mut controller = ControllerClient::new(channel);
        loop {
            self.next += 1;
            let name = format!("client-{}", self.next);
            self.clients.begin(&name, true);
            let request = CreateRequest {
                kind: Kind::Client.into(),
                name: name.clone(),
                labels: [("number".to_owned(), name.clone())].into(),
            };
            match controller.create(request).await {
                Ok(made) => {
                    self.clients.done(&name);
                    let made = made.into_inner().credentials.unwrap();
                    self.fresh.insert(name, made);
                }
                Err(status) => {
                    assert!(killed.load(SeqCst), "{status:?}");
                    return self;
                }
            }
        }
    }

    /// Compares with what was left on the disk, where there are so many writers too.
    pub(crate) fn compare(&mut self, world: &World, writers: u64) -> usize {
        let cut = self.clients.compare(|name| {
            let client = world.clients.get(name);
            client.is_some_and(|client| {
                assert_eq!(client.labels["number"], name);
                true
            })
        });
        let made = self.clients.certain().filter(|(_, there)| **there).count();
        let others = usize::try_from(writers).unwrap() + OTHERS;
        assert_eq!(
            world.clients.len(),
            made + others,
            "{:?}",
            world.clients.keys()
        );
        cut
    }

    /// Those that were given out last are taken after the restart.
    pub(crate) async fn tokens_are_good(&mut self, endpoint: &str) {
        for (name, made) in std::mem::take(&mut self.fresh).into_iter().rev().take(3) {
            let ca = STANDARD.decode(&made.ca).unwrap();
            let who = caller::Credentials {
                kind: "Client".to_owned(),
                namespace: made.namespace,
                name,
                endpoint: endpoint.to_owned(),
                ca_pem: String::from_utf8(ca).unwrap(),
                token: made.token,
            };
            let caller = Caller::connect(who).await.unwrap();
            assert_eq!(caller.names("").await, ["far"]);
        }
    }
}

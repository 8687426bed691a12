//! How a test makes the lab misbehave: faults on calls, broken connections, and nonsense.

use rigd_proto::v1::{ListenResponse, StatusResponse};
use tonic::{Code, Status};

use super::{Fault, Lab, port::Port};

/// Which connections are meant. With one port for both, all are the controller's and the router's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Controller,
    Router,
    Both,
}

/// What a controller still knows after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// As one with a store.
    Kept,
    /// Neither leases nor registrations; names, tokens and labels are configuration.
    Empty,
}

impl Lab {
    /// Puts a fault on calls to come.
    pub(crate) fn inject(&self, fault: Fault) {
        self.shared.change(|state| state.faults.add(fault));
    }

    /// Takes all faults away.
    pub(crate) fn heal(&self) {
        self.shared.change(|state| state.faults.clear());
    }

    /// Takes an exporter's token away and gives it another one.
    pub(crate) fn rotate_token(&self, exporter: &str) -> String {
        self.shared.change(|state| {
            let another = format!("{exporter}:{}", state.number());
            let token = self.shared.token(super::tokens::Kind::Exporter, &another);
            state.renewed.insert(exporter.to_owned(), token.clone());
            token
        })
    }

    /// Refuses connections and breaks those that exist, as a process that was killed.
    pub(crate) fn stop(&self, part: Part) {
        self.ports(part).for_each(Port::stop);
    }

    /// Comes back at the same address, stopping first where `stop` was not called.
    pub(crate) fn restart(&self, part: Part, memory: Memory) {
        self.stop(part);
        if memory == Memory::Empty {
            self.shared.change(super::state::State::forget);
        }
        self.ports(part).for_each(Port::start);
    }

    /// Nothing moves on any connection, old or new, while all stay open: a host that vanished.
    pub(crate) fn freeze(&self, part: Part, frozen: bool) {
        self.ports(part).for_each(|it| it.wires().freeze(frozen));
    }

    /// Breaks all connections, and goes on accepting; returns how many there were.
    pub(crate) fn cut(&self, part: Part) -> usize {
        self.ports(part).map(|it| it.wires().cut()).sum()
    }

    /// How many connections there are.
    pub(crate) fn connections(&self, part: Part) -> usize {
        self.ports(part).map(|it| it.wires().count()).sum()
    }

    /// Answers new connections with HTTP/1 text instead of TLS.
    pub(crate) fn talk_nonsense(&self, part: Part, nonsense: bool) {
        self.ports(part).for_each(|it| it.talk_nonsense(nonsense));
    }

    /// Whether the router joins streams that come from now on; if not, they wait for ever.
    pub(crate) fn pair(&self, pairs: bool) {
        self.shared.change(|state| state.pairs = pairs);
    }

    /// Sends whatever it is on the exporter's Status streams. What the lab sends on its own later is
    /// not influenced by it.
    pub(crate) fn push_status(&self, exporter: &str, message: StatusResponse) {
        self.shared.change(|state| {
            let exporter = state.exporters.get(exporter);
            exporter.expect("the lab knows the exporter").say(message);
        });
    }

    /// Sends whatever it is on the lease's Listen stream, where one is open and has room.
    pub(crate) fn push_listen(&self, lease: &str, endpoint: &str, token: &str) -> bool {
        let item = ListenResponse {
            router_endpoint: endpoint.to_owned(),
            router_token: token.to_owned(),
        };
        self.shared.change(|state| {
            let tap = state.listens.get(lease);
            tap.is_some_and(|tap| tap.tx.try_send(Ok(item)).is_ok())
        })
    }

    /// Makes a router token of the lease valid without a dial, for streams whose peer never comes.
    pub(crate) fn router_token(&self, lease: &str) -> String {
        self.shared.change(|state| {
            let token = super::tokens::stream(&self.shared.id, state.number());
            state.dials.insert(token.clone(), lease.to_owned());
            token
        })
    }

    /// Ends the exporter's Status streams: `Code::Ok` is a clean end.
    pub(crate) fn end_status(&self, exporter: &str, code: Code, text: &str) {
        let end = (code != Code::Ok).then(|| Status::new(code, text));
        self.shared.change(|state| state.end_taps(exporter, end));
    }

    /// Ends the lease's Listen stream: `Code::Ok` is a clean end.
    pub(crate) fn end_listen(&self, lease: &str, code: Code, text: &str) {
        self.shared.change(|state| {
            if let Some(tap) = state.listens.remove(lease)
                && code != Code::Ok
            {
                tap.tx.try_send(Err(Status::new(code, text))).ok();
            }
        });
    }

    fn ports(&self, part: Part) -> impl Iterator<Item = &Port> {
        let router = self.router.as_ref();
        let controller = match part {
            Part::Router => router.is_none(),
            Part::Controller | Part::Both => true,
        };
        let router = router.filter(|_| part != Part::Controller);
        controller
            .then_some(&self.controller)
            .into_iter()
            .chain(router)
    }
}

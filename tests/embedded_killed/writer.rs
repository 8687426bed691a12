//! A client that creates, changes and releases leases as fast as it is answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use rigd_controller::model::World;
use rigd_proto::client::v1::{CreateLeaseRequest, Lease, ListLeasesRequest};
use tonic::Status;

use crate::{embedded::caller::Caller, ledger::Ledger};

/// A client may have a hundred.
const MOST_OPEN: usize = 60;
/// Of all writers together fewer than a lab keeps, so that none is forgotten.
const MOST_OVER: usize = 200;
const SELECTOR: &str = "board=far";

/// A lease, as far as this test changes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Absent,
    /// Waits, for so many seconds.
    Open(i64),
    Over,
}

pub(crate) struct Writer {
    name: String,
    dice: StdRng,
    leases: Ledger<State>,
    next: usize,
}

enum Step {
    Create(String),
    Lengthen(String),
    Release(String),
}

impl Writer {
    pub(crate) fn new(name: String, dice: StdRng) -> Self {
        Self {
            name,
            dice,
            leases: Ledger::new(),
            next: 0,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.leases.acknowledged()
    }

    /// How many leases there are to be.
    pub(crate) fn kept(&self) -> usize {
        let all = self.leases.certain();
        all.filter(|(_, state)| **state != State::Absent).count()
    }

    /// Until the daemon is killed.
    pub(crate) async fn work(mut self, caller: Caller, killed: Arc<AtomicBool>) -> Self {
        loop {
            let step = self.choose();
            if let Err(status) = self.take(&caller, step).await {
                assert!(killed.load(SeqCst), "{}: {status:?}", self.name);
                return self;
            }
        }
    }

    fn choose(&mut self) -> Step {
        let mut open: Vec<_> = self
            .leases
            .certain()
            .filter(|(_, state)| matches!(state, State::Open(_)))
            .map(|(name, _)| name.to_owned())
            .collect();
        let over = self
            .leases
            .certain()
            .filter(|(_, state)| **state == State::Over)
            .count();
        let dice = self.dice.random_range(0..10);
        if open.is_empty() || dice < 4 && open.len() < MOST_OPEN {
            self.next += 1;
            return Step::Create(format!("{}-{}", self.name, self.next));
        }
        let one = open.swap_remove(self.dice.random_range(0..open.len()));
        match dice {
            4..6 if over < MOST_OVER => Step::Release(one),
            _ => Step::Lengthen(one),
        }
    }

    async fn take(&mut self, caller: &Caller, step: Step) -> Result<(), Status> {
        let seconds = self.dice.random_range(3600..86_400);
        let name = match &step {
            Step::Create(name) | Step::Lengthen(name) | Step::Release(name) => name.clone(),
        };
        let next = match &step {
            Step::Create(_) | Step::Lengthen(_) => State::Open(seconds),
            Step::Release(_) => State::Over,
        };
        self.leases.begin(&name, next);
        match step {
            Step::Create(_) => {
                let wish = CreateLeaseRequest {
                    parent: caller.parent(),
                    lease_id: name.clone(),
                    lease: Some(Lease {
                        selector: SELECTOR.to_owned(),
                        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
                        tags: tags(&name),
                        ..Lease::default()
                    }),
                };
                caller
                    .service()
                    .create_lease(caller.who.request(wish))
                    .await?;
            }
            Step::Lengthen(_) => drop(caller.lengthen(&name, seconds).await?),
            Step::Release(_) => caller.release(&name).await?,
        }
        self.leases.done(&name);
        Ok(())
    }

    /// Compares with what was left on the disk.
    pub(crate) fn compare(&mut self, world: &World) -> usize {
        let owner = self.name.clone();
        self.leases.compare(|name| {
            let Some(lease) = world.leases.get(name) else {
                return State::Absent;
            };
            // All of it, or nothing.
            assert_eq!(lease.tags, tags(name), "{name}");
            assert_eq!(lease.client, owner);
            assert_eq!(lease.selector.to_string(), SELECTOR);
            // What is told of one that waits is found anew after a start.
            let told = lease.conditions.last().is_some_and(|it| !it.status);
            assert_eq!(told, lease.over.is_some(), "{lease:?}");
            match lease.over {
                Some(_) => State::Over,
                None => State::Open(seconds(lease.duration.unwrap())),
            }
        })
    }

    /// Clients are told what is on the disk.
    pub(crate) async fn sees_the_same(&self, caller: &Caller) {
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = ListLeasesRequest {
                parent: caller.parent(),
                only_active: Some(false),
                page_size: 500,
                page_token,
                ..ListLeasesRequest::default()
            };
            let answer = caller
                .service()
                .list_leases(caller.who.request(request))
                .await;
            let answer = answer.unwrap().into_inner();
            for lease in answer.leases {
                let client = lease.client.unwrap_or_default();
                if !client.ends_with(&format!("/{}", self.name)) {
                    continue;
                }
                let name = lease.name.rsplit('/').next().unwrap().to_owned();
                let over = lease.conditions.iter().any(|it| it.r#type() == "Ready");
                let state = match over {
                    true => State::Over,
                    false => State::Open(lease.duration.unwrap().seconds),
                };
                found.insert(name, state);
            }
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let wanted = self
            .leases
            .certain()
            .filter(|(_, state)| **state != State::Absent);
        let wanted: BTreeMap<_, _> = wanted
            .map(|(name, state)| (name.to_owned(), state.clone()))
            .collect();
        assert_eq!(found, wanted);
    }
}

/// Two places for one thing.
fn tags(name: &str) -> BTreeMap<String, String> {
    ["one", "two"]
        .map(|key| (key.to_owned(), name.to_owned()))
        .into()
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap()
}

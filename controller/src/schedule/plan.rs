//! Waiting leases against free exporters.
//!
//! Wishes that are alike are looked at once. Then the levels of priority are gone through from the
//! highest, and in each the leases from the oldest: a lease gets the first free exporter, by name,
//! that its client may have at this priority. So nobody is overtaken on an exporter by a younger lease
//! of the same priority, and nothing that fits somebody stays free.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use super::{
    bits::Bits,
    lab::Lab,
    policy::{self, Approved},
};
use crate::{
    leases::conditions::{self, name},
    model::{ConditionKind, End, Lease, World},
    selector::Selector,
};

/// What is to become of a waiting lease.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It gets an exporter.
    Give { exporter: String, priority: i64 },
    /// It goes on waiting.
    Wait { word: &'static str, message: String },
    /// No waiting helps.
    End(Reason),
}

/// Why a lease can never be fulfilled.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    pub(super) how: End,
    pub(super) word: &'static str,
    pub(super) message: String,
}

/// All that decides which exporters a lease can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wish<'a> {
    selector: &'a Selector,
    pinned: Option<&'a str>,
    allow_disabled: bool,
    /// Only where policies look at it.
    client: Option<(&'a str, Option<Duration>)>,
}

/// Waiting leases, sorted into kinds of wishes.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    pub(super) lab: Lab<'a>,
    pub(super) leases: Vec<Waiting<'a>>,
    pub(super) fits: Vec<Result<Approved, Reason>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting<'a> {
    pub(super) name: &'a str,
    pub(super) lease: &'a Lease,
    /// Index of its kind.
    pub(super) kind: usize,
}

/// Whether a lease wants an exporter now.
pub(super) fn waits(lease: &Lease, now: SystemTime) -> bool {
    lease.over.is_none() && lease.held.is_none() && lease.begin.is_none_or(|begin| begin <= now)
}

impl<'a> Queue<'a> {
    /// `None` when nobody waits.
    pub(super) fn new(world: &'a World, now: SystemTime) -> Option<Self> {
        let all = world.leases.iter();
        let waiting: Vec<_> = all.filter(|(_, lease)| waits(lease, now)).collect();
        if waiting.is_empty() {
            return None;
        }
        let lab = Lab::new(world);
        let covers = policy::covers(world, &lab);
        let (mut kinds, mut fits) = (HashMap::new(), Vec::new());
        let mut leases = Vec::with_capacity(waiting.len());
        for (name, lease) in waiting {
            let policed = !world.policies.is_empty();
            let wish = Wish {
                selector: &lease.selector,
                pinned: lease.pinned.as_deref(),
                allow_disabled: lease.allow_disabled,
                client: policed.then_some((&lease.client, lease.duration)),
            };
            let kind = *kinds.entry(wish).or_insert_with(|| {
                fits.push(fit(world, &lab, &covers, lease));
                fits.len() - 1
            });
            leases.push(Waiting { name, lease, kind });
        }
        Some(Self { lab, leases, fits })
    }

    pub(super) fn approved(&self, lease: &Waiting<'_>) -> Option<&Approved> {
        self.fits.get(lease.kind)?.as_ref().ok()
    }
}

/// The exporters that a lease can have, now or some time.
fn fit<'a>(
    world: &World,
    lab: &Lab<'a>,
    covers: &[Bits],
    lease: &'a Lease,
) -> Result<Approved, Reason> {
    let candidates = candidates(lab, lease)?;
    let approved = policy::approve(
        world,
        lab,
        covers,
        &candidates,
        &lease.client,
        lease.duration,
    );
    if approved.only_spot {
        return Err(never(
            "SpotAccess",
            "Only spot access is possible, which is not given",
        ));
    }
    if approved.all.is_empty() {
        let message = match candidates.count() {
            0 => "There are 0 exporters that match the selector".to_owned(),
            count => format!("While there are {count} exporters, no policy admits the client"),
        };
        return Err(never("NoAccess", message));
    }
    Ok(approved)
}

fn never(word: &'static str, message: impl Into<String>) -> Reason {
    Reason {
        how: End::Unsatisfiable,
        word,
        message: message.into(),
    }
}

fn candidates<'a>(lab: &Lab<'a>, lease: &'a Lease) -> Result<Bits, Reason> {
    let Some(pinned) = &lease.pinned else {
        if lease.selector.is_empty() {
            let (how, word) = (End::Invalid, "InvalidSelector");
            let message = "The selector is empty, a selector is required".to_owned();
            return Err(Reason { how, word, message });
        }
        let matching = lab.matching(&lease.selector);
        let enabled = matching.and(&lab.enabled);
        return match matching.count() {
            count if count > 0 && enabled.is_empty() => {
                let message = format!("All {count} exporters matching the selector are disabled");
                Err(never("AllDisabled", message))
            }
            _ => Ok(enabled),
        };
    };
    let short = name(pinned);
    let found = lab
        .place(pinned)
        .and_then(|place| Some((place, lab.exporter(place)?.1)));
    let Some((place, exporter)) = found else {
        return Err(never(
            "ExporterNotFound",
            format!("Requested exporter {short} was not found"),
        ));
    };
    if !lease.selector.matches(&exporter.labels) {
        let message = format!("Exporter {short} does not match the selector");
        return Err(never("SelectorMismatch", message));
    }
    if !exporter.enabled && !lease.allow_disabled {
        let message = format!("Exporter {short} is disabled");
        return Err(never("ExporterDisabled", message));
    }
    let mut one = lab.none();
    one.insert(place);
    Ok(one)
}

/// A verdict on each lease that waits, but for those that go on waiting for the reason that they were
/// told.
pub(super) fn plan(world: &World, now: SystemTime) -> Vec<(String, Verdict)> {
    let Some(mut queue) = Queue::new(world, now) else {
        return Vec::new();
    };
    let given = give(&mut queue);
    let mut waits: Vec<Option<(&'static str, String)>> = vec![None; queue.fits.len()];
    let mut verdicts = Vec::with_capacity(queue.leases.len());
    for (at, lease) in queue.leases.iter().enumerate() {
        let verdict = match (given.get(&at), queue.fits.get(lease.kind)) {
            (Some((exporter, priority)), _) => Verdict::Give {
                exporter: (*exporter).to_owned(),
                priority: *priority,
            },
            (None, Some(Err(reason))) => Verdict::End(reason.clone()),
            (None, Some(Ok(approved))) => {
                let Some(wait) = waits.get_mut(lease.kind) else {
                    continue;
                };
                let (word, message) = wait.get_or_insert_with(|| why(&queue.lab, &approved.all));
                let (all, kind) = (&lease.lease.conditions, ConditionKind::Pending);
                if conditions::says(all, kind, true, word, message) {
                    continue;
                }
                Verdict::Wait {
                    word,
                    message: message.clone(),
                }
            }
            (None, None) => continue,
        };
        verdicts.push((lease.name.to_owned(), verdict));
    }
    verdicts
}

/// Who gets what: exporter and priority by the lease's place in the queue.
fn give<'a>(queue: &mut Queue<'a>) -> BTreeMap<usize, (&'a str, i64)> {
    let mut given = BTreeMap::new();
    let mut free = queue.lab.free();
    if free.is_empty() {
        return given;
    }
    let mut turns = Vec::with_capacity(queue.leases.len());
    for (at, lease) in queue.leases.iter().enumerate() {
        let levels = queue
            .approved(lease)
            .map_or(&[][..], |approved| &approved.levels);
        let level = levels.iter().enumerate();
        turns.extend(
            level.map(|(level, (priority, _))| (Reverse(*priority), lease.lease.number, at, level)),
        );
    }
    turns.sort_unstable();
    for (Reverse(priority), _, at, level) in turns {
        if given.contains_key(&at) {
            continue;
        }
        let lease = queue.leases.get(at).and_then(|lease| queue.approved(lease));
        let Some((_, those)) = lease.and_then(|approved| approved.levels.get(level)) else {
            continue;
        };
        let Some(place) = those.first_in(&free) else {
            continue;
        };
        let Some((exporter, _)) = queue.lab.exporter(place) else {
            continue;
        };
        free.remove(place);
        queue.lab.busy.insert(place);
        given.insert(at, (exporter, priority));
        if free.is_empty() {
            break;
        }
    }
    given
}

/// Why none of these can be given out now. Counts are those of the configuration, so that the message
/// does not change each time an exporter comes or goes.
fn why(lab: &Lab<'_>, approved: &Bits) -> (&'static str, String) {
    let count = approved.count();
    let one = approved.first().and_then(|place| lab.exporter(place));
    let (one, hold) = one.map_or(("", None), |(name, exporter)| {
        (name, exporter.held.as_deref())
    });
    let one = name(one);
    // Before whether they are there: one that is held may be switched off, or say that it is away.
    if approved.and(&lab.on_hold).count() == count && count > 0 {
        return (
            "NotAvailable",
            match (count, hold) {
                (1, Some(why)) => format!("Exporter {one} is on hold: {why}"),
                _ => format!("All of {count} exporters are on hold (i.e. {one})"),
            },
        );
    }
    let there = approved.and(&lab.there);
    if there.is_empty() {
        return (
            "Offline",
            match count {
                1 => format!("Exporter {one} is not online"),
                _ => format!("None of {count} exporters is online (i.e. {one})"),
            },
        );
    }
    let mut unleased = there;
    unleased.drop(&lab.busy);
    if unleased.is_empty() {
        return (
            "NotAvailable",
            match count {
                1 => format!("Exporter {one} is already leased"),
                _ => format!("All of {count} exporters are leased (i.e. {one})"),
            },
        );
    }
    unleased.drop(&lab.on_hold);
    if unleased.is_empty() {
        return (
            "NotAvailable",
            format!("All of {count} exporters are leased or on hold"),
        );
    }
    (
        "NotReady",
        match count {
            1 => format!("Exporter {one} is not ready (still cleaning up)"),
            _ => format!("None of {count} exporters is ready (still cleaning up)"),
        },
    )
}

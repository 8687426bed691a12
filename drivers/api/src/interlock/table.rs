//! The rules as a table of what runs: pure, without clock and I/O.
//!
//! ```text
//!            conditions hold, nobody's are broken
//!   asking ───────────────────────────────────────> entered ──release──> gone
//!      │ └── what is in the way is winding up: asked again after a release
//!      └── else refused, with the rule's name first
//! ```
//!
//! One entry stands for one piece of work: which states it takes its own instance through, and which
//! states of others it needs until it is over. Entering is all or nothing and never waits with
//! something in hand, so two rules that refer to each other cannot block each other.

use std::{fmt::Write, time::Duration};

/// Number of an instance that a rule names.
pub(crate) type Slot = usize;
/// Number of an entry.
pub(crate) type Id = u64;

/// A rule, by the numbers of its instances.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) deny: Vec<Denied>,
    /// All of these have to hold.
    pub(crate) unless: Vec<(Slot, String)>,
}

/// A method that a rule denies.
#[derive(Debug, Clone)]
pub(crate) struct Denied {
    pub(crate) slot: Slot,
    pub(crate) method: String,
    /// The state it leads to, when that is all it does. Whatever else leads there is then denied, too.
    pub(crate) switches_to: Option<&'static str>,
}

/// What is known of the state of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    State(&'static str),
    /// Not known, with the reason where there is one.
    Unknown(Option<String>),
}

/// Work that wants to start.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) slot: Slot,
    /// None: a driver switches by itself.
    pub(crate) method: Option<String>,
    /// States that it takes its instance through.
    pub(crate) enters: Vec<&'static str>,
    /// It is held back by nobody else's needs; what needed the old state is stopped.
    pub(crate) preempting: bool,
    /// For people: `storage.write`.
    pub(crate) who: String,
}

/// What a decision looks at beside the table.
pub(crate) struct View<'a> {
    pub(crate) known: &'a dyn Fn(Slot) -> Known,
    /// Whether the caller behind an entry went away, so that it ends with its next step.
    pub(crate) gone: &'a dyn Fn(Id) -> bool,
    /// On the clock of all entries.
    pub(crate) now: Duration,
}

/// What a table says to a piece of work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may start. Entries that lost what they need are to be stopped, each with this text.
    Entered {
        id: Id,
        stopped: Vec<(Id, String)>,
    },
    /// What is in the way ends by itself, its caller being gone; this is what to say if it does not.
    Later(String),
    Refused(String),
}

#[derive(Debug)]
struct Entry {
    id: Id,
    slot: Slot,
    who: String,
    enters: Vec<&'static str>,
    needs: Vec<Need>,
    /// On the caller's clock.
    since: Duration,
}

#[derive(Debug)]
struct Need {
    slot: Slot,
    state: String,
    rule: usize,
}

impl Need {
    fn broken_by(&self, slot: Slot, enters: &[&'static str]) -> bool {
        self.slot == slot && enters.iter().any(|state| *state != self.state)
    }
}

/// Why not: for good, or until something is over that ends by itself.
enum Obstacle {
    Stays(String),
    Ends(String),
}

/// All rules, and all work that is under one of them.
#[derive(Debug)]
pub(crate) struct Table {
    paths: Vec<String>,
    rules: Vec<Rule>,
    entries: Vec<Entry>,
    last: Id,
}

impl Table {
    /// A table of `rules` over the instances at `paths`.
    pub(crate) fn new(paths: Vec<String>, rules: Vec<Rule>) -> Self {
        Self {
            paths,
            rules,
            entries: Vec::new(),
            last: 0,
        }
    }

    fn rules_for<'a>(&'a self, work: &'a Work) -> impl Iterator<Item = (usize, &'a Rule)> {
        let denies = |denied: &Denied| {
            let named = work.method.as_ref() == Some(&denied.method);
            let switches = denied
                .switches_to
                .is_some_and(|state| work.enters.contains(&state));
            denied.slot == work.slot && (named || switches)
        };
        let rules = self.rules.iter().enumerate();
        rules.filter(move |(_, rule)| rule.deny.iter().any(denies))
    }

    /// Instances whose state decides over `work`.
    pub(crate) fn deciding(&self, work: &Work) -> Vec<Slot> {
        let rules = self.rules_for(work);
        let mut slots: Vec<_> = rules
            .flat_map(|(_, rule)| rule.unless.iter().map(|(slot, _)| *slot))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Lets `work` start, or says why not.
    pub(crate) fn enter(&mut self, work: &Work, view: &View<'_>) -> Verdict {
        let mut later = None;
        let mut needs = Vec::new();
        for (index, rule) in self.rules_for(work) {
            for (slot, state) in &rule.unless {
                match self.unmet(work, rule, (*slot, state), view) {
                    Some(Obstacle::Stays(text)) => return Verdict::Refused(text),
                    Some(Obstacle::Ends(text)) => later = Some(text),
                    None => needs.push(Need {
                        slot: *slot,
                        state: state.clone(),
                        rule: index,
                    }),
                }
            }
        }
        let mut stopped = Vec::new();
        for (entry, need) in self.broken_by(work) {
            match self.breaks(work, entry, need, view) {
                _ if work.preempting => stopped.push((entry.id, self.stop(work, entry, need))),
                Obstacle::Stays(text) => return Verdict::Refused(text),
                Obstacle::Ends(text) => later = Some(text),
            }
        }
        if let Some(text) = later {
            return Verdict::Later(text);
        }
        self.last += 1;
        self.entries.push(Entry {
            id: self.last,
            slot: work.slot,
            who: work.who.clone(),
            enters: work.enters.clone(),
            needs,
            since: view.now,
        });
        Verdict::Entered {
            id: self.last,
            stopped,
        }
    }

    /// Entries that need a state which `work` would leave.
    fn broken_by(&self, work: &Work) -> impl Iterator<Item = (&Entry, &Need)> {
        self.entries.iter().filter_map(|entry| {
            let broken = |need: &&Need| need.broken_by(work.slot, &work.enters);
            Some((entry, entry.needs.iter().find(broken)?))
        })
    }

    fn breaks(&self, work: &Work, entry: &Entry, need: &Need, view: &View<'_>) -> Obstacle {
        let (rule, path) = (&self.rules[need.rule].name, &self.paths[need.slot]);
        let (who, holder, state) = (&work.who, &entry.who, &need.state);
        let since = view.seconds(entry);
        let text = format!(
            "interlock {rule}: {who} would take {path} from {state}, which {holder} needs (since {since} s)"
        );
        match (view.gone)(entry.id) {
            true => Obstacle::Ends(text),
            false => Obstacle::Stays(text),
        }
    }

    fn stop(&self, work: &Work, entry: &Entry, need: &Need) -> String {
        let (rule, path) = (&self.rules[need.rule].name, &self.paths[need.slot]);
        let (who, holder, state) = (&work.who, &entry.who, &need.state);
        format!("interlock {rule}: {holder} was stopped: {who} took {path} from {state}")
    }

    /// Why the instance of a condition is not in its state for as long as `work` takes.
    fn unmet(
        &self,
        work: &Work,
        rule: &Rule,
        (slot, state): (Slot, &str),
        view: &View<'_>,
    ) -> Option<Obstacle> {
        let path = &self.paths[slot];
        let mut text = format!(
            "interlock {}: {} needs {path} to be {state}; ",
            rule.name, work.who
        );
        let switching = |entry: &&Entry| {
            entry.slot == slot && entry.enters.iter().any(|entered| *entered != state)
        };
        let mut switching = self.entries.iter().filter(switching).peekable();
        if let Some(first) = switching.peek() {
            let since = view.seconds(first);
            // Writing to a string does not fail.
            write!(text, "{} is switching it (since {since} s)", first.who).ok();
            return Some(match switching.all(|entry| (view.gone)(entry.id)) {
                true => Obstacle::Ends(text),
                false => Obstacle::Stays(text),
            });
        }
        match (view.known)(slot) {
            Known::State(is) if is == state => return None,
            Known::State(is) => write!(text, "it is {is}").ok(),
            Known::Unknown(None) => write!(text, "its state is not known").ok(),
            Known::Unknown(Some(why)) => write!(text, "its state is not known: {why}").ok(),
        };
        Some(Obstacle::Stays(text))
    }

    /// The work is over, or was never begun.
    pub(crate) fn release(&mut self, id: Id) {
        self.entries.retain(|entry| entry.id != id);
    }
}

impl View<'_> {
    fn seconds(&self, entry: &Entry) -> u64 {
        self.now.saturating_sub(entry.since).as_secs()
    }
}

#[cfg(test)]
mod tests;

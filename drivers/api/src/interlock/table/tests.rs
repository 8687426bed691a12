use std::collections::HashSet;

use proptest::{collection::vec, option, prelude::*};

use super::*;

const POWER: Slot = 0;
const STORAGE: Slot = 1;

/// Two instances as on most boards: power with `off` that never queues, storage that switches inside
/// of `write`.
struct Board {
    table: Table,
    states: [Option<&'static str>; 2],
    gone: HashSet<Id>,
    now: Duration,
}

/// Name, denied methods, and the states that lift the rule.
type Written<'a> = (&'a str, &'a [&'a str], &'a [(Slot, &'a str)]);

impl Board {
    fn new(rules: &[Written<'_>]) -> Self {
        let rules = rules.iter().map(|(name, deny, unless)| Rule {
            name: (*name).into(),
            deny: deny.iter().map(|method| denied(method)).collect(),
            unless: unless
                .iter()
                .map(|(slot, s)| (*slot, (*s).into()))
                .collect(),
        });
        Self {
            table: Table::new(vec!["power".into(), "storage".into()], rules.collect()),
            states: [Some("off"), Some("dut")],
            gone: HashSet::new(),
            now: Duration::ZERO,
        }
    }

    fn enter(&mut self, method: &str) -> Verdict {
        let (states, gone) = (self.states, self.gone.clone());
        let view = View {
            known: &|slot| states[slot].map_or(Known::Unknown(None), Known::State),
            gone: &|id| gone.contains(&id),
            now: self.now,
        };
        self.table.enter(&work(method), &view)
    }

    fn begin(&mut self, method: &str) -> Id {
        match self.enter(method) {
            Verdict::Entered { id, stopped } if stopped.is_empty() => id,
            other => panic!("{method}: {other:?}"),
        }
    }

    fn refused(&mut self, method: &str) -> String {
        match self.enter(method) {
            Verdict::Refused(text) => text,
            other => panic!("{method}: {other:?}"),
        }
    }
}

fn work(method: &str) -> Work {
    let (slot, enters): (_, &[_]) = match method {
        "power.on" => (POWER, &["on"]),
        "power.off" => (POWER, &["off"]),
        "power.cycle" => (POWER, &["off", "on"]),
        "power.read" => (POWER, &[]),
        "storage.host" | "storage.write" => (STORAGE, &["host"]),
        "storage.dut" => (STORAGE, &["dut"]),
        other => panic!("{other}"),
    };
    Work {
        slot,
        method: method.split_once('.').map(|(_, name)| name.to_owned()),
        enters: enters.to_vec(),
        preempting: method == "power.off",
        who: method.into(),
    }
}

fn denied(method: &str) -> Denied {
    let work = work(method);
    let compound = ["power.cycle", "power.read", "storage.write"].contains(&method);
    Denied {
        slot: work.slot,
        method: work.method.unwrap_or_default(),
        switches_to: work.enters.first().copied().filter(|_| !compound),
    }
}

const CARD: (&str, &[&str], &[(Slot, &str)]) = (
    "card",
    &["storage.host", "storage.write"],
    &[(POWER, "off")],
);

#[test]
fn a_denied_method_needs_the_state_and_an_unknown_one_is_wrong() {
    let mut board = Board::new(&[CARD]);
    board.states[POWER] = Some("on");
    assert_eq!(
        board.refused("storage.write"),
        "interlock card: storage.write needs power to be off; it is on"
    );
    board.states[POWER] = None;
    assert_eq!(
        board.refused("storage.host"),
        "interlock card: storage.host needs power to be off; its state is not known"
    );
    board.begin("storage.dut");
    board.states[POWER] = Some("off");
    board.begin("storage.write");
}

#[test]
fn nothing_leaves_the_state_while_the_work_goes_on() {
    let mut board = Board::new(&[CARD]);
    let write = board.begin("storage.write");
    board.now = Duration::from_secs(12);
    for method in ["power.on", "power.cycle"] {
        assert_eq!(
            board.refused(method),
            format!(
                "interlock card: {method} would take power from off, which storage.write needs (since 12 s)"
            )
        );
    }
    // It is off already, and stays so.
    board.begin("power.off");
    board.begin("power.read");
    board.table.release(write);
    board.begin("power.on");
}

#[test]
fn a_state_that_is_being_left_does_not_count() {
    let mut board = Board::new(&[CARD]);
    let on = board.begin("power.on");
    assert_eq!(
        board.refused("storage.write"),
        "interlock card: storage.write needs power to be off; power.on is switching it (since 0 s)"
    );
    // Its caller is gone: it ends by itself, and the write is asked again then.
    board.gone.insert(on);
    assert!(matches!(board.enter("storage.write"), Verdict::Later(_)));
    board.table.release(on);
    board.begin("storage.write");
}

#[test]
fn work_whose_caller_is_gone_is_waited_for() {
    let mut board = Board::new(&[CARD]);
    let write = board.begin("storage.write");
    board.gone.insert(write);
    assert!(matches!(board.enter("power.on"), Verdict::Later(_)));
    board.table.release(write);
    board.begin("power.on");
}

#[test]
fn what_denies_a_switch_denies_all_that_leads_there() {
    let rule: (&str, &[&str], &[(Slot, &str)]) = ("dut only", &["power.on"], &[(STORAGE, "dut")]);
    let mut board = Board::new(&[rule, ("host", &["storage.host"], &[(POWER, "off")])]);
    board.states = [Some("on"), Some("host")];
    assert_eq!(
        board.refused("power.cycle"),
        "interlock dut only: power.cycle needs storage to be dut; it is host"
    );
    assert_eq!(
        board.refused("storage.write"),
        "interlock host: storage.write needs power to be off; it is on"
    );
}

#[test]
fn what_denies_more_than_a_switch_denies_that_alone() {
    let mut board = Board::new(&[("no cycles", &["power.cycle"], &[(STORAGE, "off")])]);
    board.begin("power.on");
    board.begin("power.off");
    assert!(
        board
            .refused("power.cycle")
            .starts_with("interlock no cycles: ")
    );
}

#[test]
fn an_off_stops_what_needs_it_on_and_goes_ahead() {
    let mut board = Board::new(&[("lit", &["storage.write"], &[(POWER, "on")])]);
    board.states[POWER] = Some("on");
    let write = board.begin("storage.write");
    let text = "interlock lit: storage.write was stopped: power.off took power from on";
    let expected = vec![(write, text.to_owned())];
    assert!(
        matches!(board.enter("power.off"), Verdict::Entered { stopped, .. } if stopped == expected)
    );
}

#[test]
fn an_off_that_a_rule_names_is_held_to_it() {
    let mut board = Board::new(&[("brake", &["power.off"], &[(STORAGE, "off")])]);
    assert_eq!(
        board.refused("power.off"),
        "interlock brake: power.off needs storage to be off; it is dut"
    );
}

#[test]
fn two_rules_that_refer_to_each_other_refuse_the_second() {
    let mutual = [CARD, ("boot", &["power.on"][..], &[(STORAGE, "dut")][..])];
    let mut board = Board::new(&mutual);
    let on = board.begin("power.on");
    assert!(
        board
            .refused("storage.host")
            .starts_with("interlock card: storage.host needs")
    );
    board.table.release(on);
    let host = board.begin("storage.host");
    assert!(
        board
            .refused("power.on")
            .starts_with("interlock boot: power.on needs")
    );
    board.table.release(host);
    board.begin("power.on");
}

/// States of the instances in the property.
const STATES: [&str; 2] = ["x", "y"];
/// Methods of each of them: what they enter, and whether they never queue.
const METHODS: [(&str, &[&str], bool); 5] = [
    ("x", &["x"], false),
    ("y", &["y"], true),
    ("cycle", &["y", "x"], false),
    ("write", &["x"], false),
    ("use", &[], false),
];
const INSTANCES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Instance, method, the state while it works.
    Start(usize, usize, Option<usize>),
    /// Which one, and the state that it leaves behind.
    End(prop::sample::Index, Option<usize>),
    /// A caller goes away.
    Leave(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let state = || option::weighted(0.8, 0..STATES.len());
    prop_oneof![
        4 => (0..INSTANCES, 0..METHODS.len(), state()).prop_map(|(i, m, s)| Step::Start(i, m, s)),
        3 => (any::<prop::sample::Index>(), state()).prop_map(|(i, s)| Step::End(i, s)),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let deny = vec((0..INSTANCES, 0..METHODS.len()), 1..3);
    let unless = vec((0..INSTANCES, 0..STATES.len()), 1..3);
    (deny, unless).prop_map(|(deny, unless)| Rule {
        name: "rule".into(),
        deny: deny
            .into_iter()
            .map(|(slot, method)| {
                let (name, enters, _) = METHODS[method];
                let switches_to = ["x", "y"].contains(&name).then(|| enters[0]);
                Denied {
                    slot,
                    method: name.into(),
                    switches_to,
                }
            })
            .collect(),
        unless: unless
            .into_iter()
            .map(|(slot, state)| (slot, STATES[state].into()))
            .collect(),
    })
}

/// Work that goes on in the model.
struct Going {
    id: Id,
    slot: Slot,
    enters: &'static [&'static str],
    /// What the rules say that it needs, read by the letter.
    needs: Vec<(Slot, String)>,
    gone: bool,
    stopped: bool,
}

/// Where an instance is, and whether that is known.
#[derive(Debug, Clone, Copy)]
struct At(&'static str, bool);

impl At {
    fn is_known_as(self, state: &str) -> bool {
        self.1 && self.0 == state
    }

    /// Somewhere on the way of a method; nobody knows where, if nothing was picked.
    fn moved(self, enters: &'static [&'static str], pick: Option<usize>) -> Self {
        match enters.len() {
            0 => self,
            len => Self(enters[pick.unwrap_or_default() % len], pick.is_some()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the devices do on their way: work that is denied goes on only in the states it needs,
    /// and a wait is only ever for somebody who is leaving.
    #[test]
    fn what_is_needed_holds_for_as_long_as_the_work_goes_on(
        rules in vec(rule(), 1..4),
        steps in vec(step(), 1..60),
    ) {
        let paths = (0..INSTANCES).map(|slot| format!("i{slot}")).collect();
        let mut table = Table::new(paths, rules.clone());
        let mut states = [At("x", true); INSTANCES];
        let mut going: Vec<Going> = Vec::new();
        for step in steps {
            match step {
                Step::Start(slot, method, pick) => {
                    let (name, enters, preempting) = METHODS[method];
                    let work = Work {
                        slot,
                        method: Some(name.into()),
                        enters: enters.to_vec(),
                        preempting,
                        who: format!("i{slot}.{name}"),
                    };
                    let applies = |rule: &&Rule| rule.deny.iter().any(|denied| {
                        let leads = denied.switches_to.is_some_and(|to| enters.contains(&to));
                        denied.slot == slot && (denied.method == name || leads)
                    });
                    let needs: Vec<_> =
                        rules.iter().filter(applies).flat_map(|rule| rule.unless.clone()).collect();
                    let gone = |id| going.iter().any(|one| one.id == id && (one.gone || one.stopped));
                    let view = View {
                        known: &|slot| match states[slot] {
                            At(state, true) => Known::State(state),
                            At(_, false) => Known::Unknown(None),
                        },
                        gone: &gone,
                        now: Duration::ZERO,
                    };
                    match table.enter(&work, &view) {
                        Verdict::Entered { id, stopped } => {
                            prop_assert!(stopped.is_empty() || preempting);
                            for one in &mut going {
                                one.stopped |= stopped.iter().any(|(id, _)| *id == one.id);
                            }
                            // It still has what it needs when it is there.
                            let fits = needs.iter().all(|(at, state)| states[*at].is_known_as(state));
                            prop_assert!(fits, "{name} of {slot} started in {states:?}");
                            states[slot] = states[slot].moved(enters, pick);
                            going.push(Going { id, slot, enters, needs, gone: false, stopped: false });
                        }
                        Verdict::Later(_) => {
                            prop_assert!(going.iter().any(|one| one.gone || one.stopped));
                        }
                        Verdict::Refused(text) => {
                            prop_assert!(text.starts_with("interlock rule: "), "{text}");
                            let fits = needs.iter().all(|(at, state)| states[*at].is_known_as(state));
                            prop_assert!(!fits || !going.is_empty(), "refused alone: {text}");
                        }
                    }
                }
                Step::End(which, pick) if !going.is_empty() => {
                    let one = going.remove(which.index(going.len()));
                    states[one.slot] = states[one.slot].moved(one.enters, pick);
                    table.release(one.id);
                }
                Step::Leave(which) if !going.is_empty() => {
                    let at = which.index(going.len());
                    going[at].gone = true;
                }
                Step::End(..) | Step::Leave(_) => {}
            }
            for one in going.iter().filter(|one| !one.stopped) {
                for (at, state) in one.needs.iter().filter(|(at, _)| *at != one.slot) {
                    prop_assert_eq!(states[*at].0, state.as_str(), "work of {} lost i{}", one.slot, at);
                }
            }
        }
    }
}

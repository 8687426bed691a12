//! A world around the machine: it carries effects out as lazily as it likes, and watches.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// What the world remembers, over crashes too.
#[derive(Default)]
struct World {
    journal: Option<Entry>,
    before_ran: HashSet<String>,
    after_ran: HashSet<String>,
    begun: HashSet<String>,
    // Of one process:
    session: Option<Lease>,
    client_key: bool,
    hook: Option<Hook>,
    listening: HashSet<String>,
    /// Asked for and not answered.
    answers: Vec<Event>,
    armed: Option<u64>,
    unreleased: Option<String>,
    reports: Vec<ExporterStatus>,
    held: bool,
    /// What is left behind is for a successor.
    succeeded: bool,
    left: Option<u8>,
}

impl World {
    fn crash(&mut self) {
        let kept = World {
            journal: self.journal.take(),
            before_ran: std::mem::take(&mut self.before_ran),
            after_ran: std::mem::take(&mut self.after_ran),
            begun: std::mem::take(&mut self.begun),
            ..World::default()
        };
        *self = kept;
    }

    /// Tells the machine something and carries out what it wants.
    fn tell(&mut self, machine: &mut Machine, event: Event) {
        match &event {
            Event::Listening(name) => _ = self.listening.insert(name.clone()),
            Event::HookEnded(..) => self.hook = None,
            Event::ReleaseAnswered(_) => self.unreleased = None,
            Event::Status(now) => {
                let named = now.as_ref().map(|l| l.name.clone());
                if self.unreleased.is_some() && named != self.unreleased {
                    self.unreleased = None;
                }
            }
            _ => {}
        }
        for effect in machine.step(event) {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect) {
        assert!(self.left.is_none(), "{effect:?} after the end");
        match effect {
            Effect::Journal(entry) => self.journal = Some(entry),
            Effect::Show(ExporterStatus::LeaseReady, _) => {
                let lease = self.session.as_ref().expect("a session is open");
                assert!(
                    self.listening.contains(&lease.name),
                    "ready before Listen was sent"
                );
                assert!(self.client_key, "ready without a live key");
                assert!(self.hook.is_none(), "ready while a hook runs");
            }
            Effect::Show(..) => {}
            Effect::Report(status, _) => {
                if status == ExporterStatus::Available {
                    assert!(!self.held, "available while held");
                    assert_eq!(
                        self.unreleased, None,
                        "available before the release was answered"
                    );
                }
                self.reports.push(status);
            }
            Effect::Prepare(lease) => {
                assert!(self.session.is_none(), "two leases at once");
                // One that was taken up goes on.
                let begun = self.begun.insert(lease.name.clone());
                assert!(!(self.held && begun), "a lease begins while held");
                self.client_key = true;
                self.answers.push(Event::Prepared(lease.name.clone()));
                self.unreleased = Some(lease.name.clone());
                self.session = Some(lease);
            }
            Effect::Listen(lease) => self.answers.push(Event::Listening(lease.name)),
            Effect::Transfer(lease) => {
                let session = self.session.as_ref().expect("a session is open");
                assert_eq!(session.name, lease.name);
                assert!(self.client_key);
            }
            Effect::RunHook(hook, lease) => {
                assert!(self.hook.is_none(), "two hooks at once");
                let ran = match hook {
                    Hook::Before => &mut self.before_ran,
                    Hook::After => &mut self.after_ran,
                };
                assert!(ran.insert(lease.name.clone()), "{hook:?} ran twice");
                if hook == Hook::After {
                    assert!(!self.client_key, "afterLease with a live client key");
                }
                self.hook = Some(hook);
                self.answers.push(Event::HookEnded(hook, Outcome::Done));
            }
            Effect::CutHook(_) => {}
            Effect::RevokeClient(_) => self.client_key = false,
            Effect::RunSafeState => {
                assert!(!self.client_key, "safeState with a live client key");
                self.answers.push(Event::SafeStateDone);
            }
            Effect::Forget(lease) => {
                assert!(!self.client_key);
                self.answers.push(Event::Quiet(lease.name));
            }
            Effect::CloseSession => {
                assert!(!self.client_key);
                self.session = None;
            }
            Effect::Release(lease) => self.answers.push(Event::ReleaseAnswered(lease.name)),
            Effect::Arm(number, _) => self.armed = Some(number),
            Effect::Leave(code) => {
                assert_eq!(self.reports.last(), Some(&ExporterStatus::Offline));
                let done = self
                    .journal
                    .as_ref()
                    .is_none_or(|entry| entry.phase == Phase::Done);
                assert!(
                    done || self.succeeded,
                    "something is left behind: {:?}",
                    self.journal
                );
                self.left = Some(code);
            }
        }
    }
}

/// What may happen next.
#[derive(Debug, Clone)]
enum Move {
    Status(Option<(u8, u8)>),
    EndSession,
    Read,
    Stop,
    Hold(bool),
    Retire(bool),
    /// One of the answers that are due.
    Answer(prop::sample::Index),
    /// A hook that is due fails, when there is one.
    HookFails,
    Deadline,
    StaleDeadline,
    Crash,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => prop::option::of((0..3_u8, 0..2_u8)).prop_map(Move::Status),
        2 => Just(Move::EndSession),
        1 => Just(Move::Read),
        1 => Just(Move::Stop),
        1 => any::<bool>().prop_map(Move::Hold),
        1 => any::<bool>().prop_map(Move::Retire),
        9 => any::<prop::sample::Index>().prop_map(Move::Answer),
        2 => Just(Move::HookFails),
        2 => Just(Move::Deadline),
        1 => Just(Move::StaleDeadline),
        1 => Just(Move::Crash),
    ]
}

fn a_hook() -> impl Strategy<Value = Option<HookPolicy>> {
    let failure = prop_oneof![
        Just(OnFailure::Warn),
        Just(OnFailure::EndLease),
        Just(OnFailure::Exit)
    ];
    let hook = failure.prop_map(|on_failure| HookPolicy {
        timeout: Duration::from_secs(9),
        on_failure,
    });
    prop::option::of(hook)
}

fn a_policy() -> impl Strategy<Value = Policy> {
    (a_hook(), a_hook(), any::<bool>(), any::<bool>()).prop_map(|(before, after, safe, exit)| {
        let safe_state = safe.then_some(Duration::from_secs(3));
        Policy {
            before,
            after,
            safe_state,
            exit_on_lease_end: exit,
        }
    })
}

/// Lease names never come again; a transfer keeps the name and changes the client.
fn lease(round: usize, (name, client): (u8, u8)) -> Lease {
    Lease {
        name: format!("lease-{round}-{name}"),
        client: format!("client-{client}"),
    }
}

fn play(policy: Policy, moves: &[Move]) -> (Machine, World) {
    let mut world = World::default();
    let mut machine = Machine::new(policy, None);
    let mut named: Option<String> = None;
    let mut finished = HashSet::new();
    for (step, next) in moves.iter().enumerate() {
        if world.left.is_some() {
            world.crash();
            machine = Machine::new(policy, world.journal.clone());
        }
        match next {
            Move::Status(wanted) => {
                // A lease that the controller has dropped never comes back.
                let wanted = wanted.map(|w| lease(step / 12, w));
                let wanted = wanted.filter(|l| !finished.contains(&l.name));
                let name = wanted.as_ref().map(|l| l.name.clone());
                if name != named {
                    finished.extend(std::mem::replace(&mut named, name));
                }
                world.tell(&mut machine, Event::Status(wanted));
            }
            Move::EndSession => world.tell(&mut machine, Event::EndSession),
            Move::Read => world.tell(&mut machine, Event::FinalStatusRead),
            Move::Stop => world.tell(&mut machine, Event::Stop),
            Move::Hold(held) => {
                let reason = held.then(|| "new relay".to_owned());
                world.held = *held;
                world.tell(&mut machine, Event::Hold(reason));
            }
            Move::Retire(succeeded) => {
                world.succeeded = *succeeded && matches!(machine.state(), State::Unknown { .. });
                let succeeded = *succeeded;
                world.tell(&mut machine, Event::Retire { succeeded });
            }
            Move::Answer(which) if !world.answers.is_empty() => {
                let answer = world.answers.remove(which.index(world.answers.len()));
                world.tell(&mut machine, answer);
            }
            Move::HookFails => {
                let due = |event: &Event| matches!(event, Event::HookEnded(..));
                if let Some(at) = world.answers.iter().position(due)
                    && let Event::HookEnded(hook, _) = world.answers.remove(at)
                {
                    let failed = Outcome::Failed("Hook failed with exit code 3".into());
                    world.tell(&mut machine, Event::HookEnded(hook, failed));
                }
            }
            Move::Deadline => {
                if let Some(number) = world.armed {
                    world.tell(&mut machine, Event::Deadline(number));
                }
            }
            Move::StaleDeadline => world.tell(&mut machine, Event::Deadline(0)),
            Move::Crash => {
                world.crash();
                machine = Machine::new(policy, world.journal.clone());
            }
            Move::Answer(_) => {}
        }
    }
    (machine, world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The invariants are asserted in `World`, step by step; from wherever it got to, an exporter
    /// whose controller takes the lease back ends free or stopped.
    #[test]
    fn every_path_keeps_the_invariants_and_ends(
        policy in a_policy(),
        moves in prop::collection::vec(a_move(), 0..120),
    ) {
        let (mut machine, mut world) = play(policy, &moves);
        if world.left.is_none() {
            world.tell(&mut machine, Event::Status(None));
        }
        for _ in 0..50 {
            if world.left.is_some() || *machine.state() == State::Available {
                break;
            }
            match world.answers.pop() {
                Some(answer) => world.tell(&mut machine, answer),
                None => {
                    let number = world.armed.expect("a state that waits has a deadline");
                    world.tell(&mut machine, Event::Deadline(number));
                }
            }
        }
        let free = *machine.state() == State::Available;
        prop_assert!(free || world.left.is_some(), "stuck in {:?}", machine.state());
    }
}

fn hook(on_failure: OnFailure) -> Option<HookPolicy> {
    Some(HookPolicy {
        timeout: Duration::from_secs(120),
        on_failure,
    })
}

fn a_lease(name: &str) -> Lease {
    Lease {
        name: name.into(),
        client: "me".into(),
    }
}

/// Shows and reports of a step, the others left out.
fn told(effects: &[Effect]) -> Vec<(bool, ExporterStatus, &str)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Show(status, text) => Some((true, *status, text.as_str())),
        Effect::Report(status, text) => Some((false, *status, text.as_str())),
        _ => None,
    });
    told.collect()
}

/// A machine whose client may act.
fn ready(policy: Policy) -> Machine {
    let mut machine = Machine::new(policy, None);
    machine.step(Event::Status(Some(a_lease("one"))));
    machine.step(Event::Prepared("one".into()));
    machine.step(Event::Listening("one".into()));
    if policy.before.is_some() {
        machine.step(Event::HookEnded(Hook::Before, Outcome::Done));
    }
    assert_eq!(
        machine.state(),
        &State::Ready {
            lease: a_lease("one")
        }
    );
    machine
}

#[test]
fn a_lease_with_both_hooks_tells_the_known_texts_in_order() {
    let policy = Policy {
        before: hook(OnFailure::Warn),
        after: hook(OnFailure::Warn),
        ..Policy::default()
    };
    let mut machine = Machine::new(policy, None);
    let mut seen = Vec::new();
    for event in [
        Event::Status(None),
        Event::Status(Some(a_lease("one"))),
        Event::Prepared("one".into()),
        Event::Listening("one".into()),
        Event::HookEnded(Hook::Before, Outcome::Done),
        Event::EndSession,
        Event::HookEnded(Hook::After, Outcome::Done),
        Event::Quiet("one".into()),
        Event::FinalStatusRead,
        Event::Status(None),
    ] {
        let effects = machine.step(event);
        let told = told(&effects).into_iter().filter(|(show, ..)| !show);
        seen.extend(told.map(|(_, status, text)| (status, text.to_owned())));
    }
    let wanted = [
        (
            ExporterStatus::Available,
            "Exporter registered and available",
        ),
        (ExporterStatus::BeforeLeaseHook, "Running beforeLease hook"),
        (ExporterStatus::LeaseReady, "Ready for commands"),
        (ExporterStatus::AfterLeaseHook, "Running afterLease hooks"),
        (
            ExporterStatus::Available,
            "Exporter available after lease release",
        ),
    ];
    assert_eq!(seen, wanted.map(|(status, text)| (status, text.to_owned())));
}

#[test]
fn a_lease_that_its_client_does_not_end_is_released_after_a_farewell() {
    let mut machine = ready(Policy::default());
    machine.step(Event::EndSession);
    machine.step(Event::Quiet("one".into()));
    let effects = machine.step(Event::FinalStatusRead);
    let [Effect::Arm(number, FAREWELL)] = effects[..] else {
        panic!("{effects:?}");
    };
    let effects = machine.step(Event::Deadline(number));
    assert!(effects.contains(&Effect::Release(a_lease("one"))));
    let effects = machine.step(Event::ReleaseAnswered("one".into()));
    let available = Effect::Report(
        ExporterStatus::Available,
        "Exporter available after lease release".into(),
    );
    assert!(effects.contains(&available), "{effects:?}");
    // The controller may go on naming it for a moment.
    assert_eq!(machine.step(Event::Status(Some(a_lease("one")))), []);
}

#[test]
fn an_exporter_on_hold_gives_leases_back_untouched() {
    let mut machine = Machine::new(Policy::default(), None);
    machine.step(Event::Status(None));
    let effects = machine.step(Event::Hold(Some("new relay".into())));
    let held = (ExporterStatus::Offline, "Held for maintenance: new relay");
    assert!(told(&effects).contains(&(false, held.0, held.1)));
    let effects = machine.step(Event::Status(Some(a_lease("one"))));
    assert!(effects.contains(&Effect::Release(a_lease("one"))));
    assert!(told(&effects).is_empty());
    let effects = machine.step(Event::ReleaseAnswered("one".into()));
    assert!(told(&effects).contains(&(false, held.0, held.1)));
    machine.step(Event::Status(None));
    let effects = machine.step(Event::Hold(None));
    let available = (false, ExporterStatus::Available, "Exporter available");
    assert!(told(&effects).contains(&available));
}

#[test]
fn the_failure_of_a_hook_means_what_its_policy_says() {
    let failed = || Outcome::Failed("Hook failed with exit code 3".into());
    for (on_failure, status, text) in [
        (
            OnFailure::Warn,
            ExporterStatus::LeaseReady,
            "[HOOK_WARNING] beforeLease hook warning: Hook failed with exit code 3",
        ),
        (
            OnFailure::EndLease,
            ExporterStatus::BeforeLeaseHookFailed,
            "beforeLease hook failed (on_failure=endLease): Hook failed with exit code 3",
        ),
        (
            OnFailure::Exit,
            ExporterStatus::BeforeLeaseHookFailed,
            "beforeLease hook failed (on_failure=exit, shutting down): Hook failed with exit code 3",
        ),
    ] {
        let policy = Policy {
            before: hook(on_failure),
            ..Policy::default()
        };
        let mut machine = Machine::new(policy, None);
        machine.step(Event::Status(Some(a_lease("one"))));
        machine.step(Event::Prepared("one".into()));
        machine.step(Event::Listening("one".into()));
        let effects = machine.step(Event::HookEnded(Hook::Before, failed()));
        assert_eq!(
            told(&effects),
            [(true, status, text), (false, status, text)]
        );
    }
}

#[test]
fn a_change_of_the_name_is_an_end_and_a_start() {
    let mut machine = ready(Policy::default());
    let effects = machine.step(Event::Status(Some(a_lease("two"))));
    assert!(effects.contains(&Effect::RevokeClient("the lease has ended")));
    machine.step(Event::Quiet("one".into()));
    let effects = machine.step(Event::FinalStatusRead);
    assert!(effects.contains(&Effect::CloseSession));
    assert!(
        effects.contains(&Effect::Prepare(a_lease("two"))),
        "{effects:?}"
    );
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Release(_)))
    );
}

#[test]
fn a_change_of_the_client_is_a_transfer() {
    let mut machine = ready(Policy::default());
    let other = Lease {
        client: "other".into(),
        ..a_lease("one")
    };
    let effects = machine.step(Event::Status(Some(other.clone())));
    let journal = Effect::Journal(Entry {
        lease: other.clone(),
        phase: Phase::Ready,
    });
    assert_eq!(effects, [journal, Effect::Transfer(other.clone())]);
    assert_eq!(machine.state(), &State::Ready { lease: other });
}

#[test]
fn the_warning_of_after_lease_stands_beside_the_final_status() {
    let mut machine = ready(Policy {
        after: hook(OnFailure::Warn),
        ..Policy::default()
    });
    machine.step(Event::EndSession);
    let failed = Outcome::Failed("Hook failed with exit code 3".into());
    machine.step(Event::HookEnded(Hook::After, failed));
    let effects = machine.step(Event::Quiet("one".into()));
    let text = "[HOOK_WARNING] afterLease hook warning: Hook failed with exit code 3";
    assert!(told(&effects).contains(&(true, ExporterStatus::Available, text)));
}

#[test]
fn a_lease_that_ends_before_anything_was_done_runs_no_hook() {
    let mut machine = Machine::new(
        Policy {
            after: hook(OnFailure::Warn),
            ..Policy::default()
        },
        None,
    );
    machine.step(Event::Status(Some(a_lease("one"))));
    let effects = machine.step(Event::Status(None));
    assert!(
        effects.contains(&Effect::Forget(a_lease("one"))),
        "{effects:?}"
    );
}

#[test]
fn one_that_is_replaced_before_the_controller_has_spoken_leaves_the_journal_to_its_successor() {
    for (succeeded, wanted) in [(true, "Stopped"), (false, "AfterHook")] {
        let left = Entry {
            lease: a_lease("one"),
            phase: Phase::Ready,
        };
        let policy = Policy {
            after: hook(OnFailure::Warn),
            ..Policy::default()
        };
        let mut machine = Machine::new(policy, Some(left));
        machine.step(Event::Retire { succeeded });
        let state = format!("{:?}", machine.state());
        assert!(state.starts_with(wanted), "{state}");
    }
}

#[test]
fn after_a_crash_the_journal_decides() {
    let policy = Policy {
        before: hook(OnFailure::EndLease),
        after: hook(OnFailure::Warn),
        safe_state: Some(Duration::from_secs(1)),
        ..Policy::default()
    };
    let after = |phase, now: Option<&str>| {
        let left = Entry {
            lease: a_lease("one"),
            phase,
        };
        let mut machine = Machine::new(policy, Some(left));
        machine.step(Event::Status(now.map(a_lease)));
        machine.state().clone()
    };
    let taken_up = after(Phase::Ready, Some("one"));
    assert!(matches!(
        taken_up,
        State::Preparing {
            hook: Start::TakenUp,
            ..
        }
    ));
    let cut = after(Phase::Before, Some("one"));
    assert!(matches!(
        cut,
        State::Preparing {
            hook: Start::Cut,
            ..
        }
    ));
    for now in [None, Some("two")] {
        for phase in [Phase::Before, Phase::Ready] {
            assert!(matches!(after(phase, now), State::AfterHook(_)));
        }
        assert!(matches!(after(Phase::After, now), State::SafeState(_)));
    }
}

//! A world around the machine: it carries effects out as lazily as it likes, and watches.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

mod known;

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
            Effect::CloseSession(_) => {
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

//! What the machine does in the cases that people know: texts, order, policies, crashes.

use super::super::*;

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
    let closed = |effect: &Effect| matches!(effect, Effect::CloseSession(_));
    assert!(effects.iter().any(closed));
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

//! What becomes of a lease.

use std::time::Duration;

use tonic::Code;

use super::{super::*, lab, refused, times};
use crate::{
    model::{Rule, World},
    sample::{ask, at, policy, request, rule, seconds, stamp, step},
};

#[test]
fn a_client_releases_its_own_lease_once() {
    let mut world = lab();
    let (unknown, precondition) = (Code::Unknown, Code::FailedPrecondition);
    refused(
        delete(&world, "ci", "held", "x", at(1)),
        unknown,
        "DeleteLease permission denied",
    );
    let text = "Lease.jumpstarter.dev \"none\" not found";
    refused(delete(&world, "ci", "none", "x", at(1)), unknown, text);
    refused(
        release_as_client(&world, "ci", "held", at(1)),
        unknown,
        "ReleaseLease permission denied",
    );
    let released = delete(&world, "dev", "held", "x", at(9)).unwrap().unwrap();
    let last = released.conditions.last().unwrap();
    assert_eq!(
        (last.kind, last.status, last.reason.as_str()),
        (ConditionKind::Ready, false, "Released")
    );
    let lasted = effective(&released, at(500));
    assert_eq!((lasted.begin, lasted.end), (Some(at(0)), Some(at(9))));
    assert_eq!(lasted.duration, Some(Duration::from_secs(9)));
    world.leases.insert("held".into(), released);
    let again = delete(&world, "dev", "held", "namespaces/lab/leases/held", at(10));
    let text = "lease \"namespaces/lab/leases/held\" has already been released";
    refused(again, precondition, text);
    assert_eq!(release_as_client(&world, "dev", "held", at(10)), Ok(None));
}

#[test]
fn what_expired_can_be_deleted_and_stays_as_it_is() {
    let mut world = lab();
    step(&mut world, at(3600));
    assert_eq!(delete(&world, "dev", "held", "held", at(3601)), Ok(None));
    assert_eq!(delete(&world, "dev", "held", "held", at(3602)), Ok(None));
}

#[test]
fn an_exporter_releases_only_what_it_serves() {
    let mut world = lab();
    let text = "lease \"none\" not found";
    refused(
        release_as_exporter(&world, "rig-1", "none", at(1)),
        Code::NotFound,
        text,
    );
    let text = "lease \"held\" is not held by exporter \"rig-2\"";
    refused(
        release_as_exporter(&world, "rig-2", "held", at(1)),
        Code::FailedPrecondition,
        text,
    );
    assert_eq!(release_current(&world, "rig-2", at(1)), None);
    let released = release_as_exporter(&world, "rig-1", "held", at(1))
        .unwrap()
        .unwrap();
    assert_eq!(
        release_current(&world, "rig-1", at(1)),
        Some(("held".into(), released.clone()))
    );
    world.leases.insert("held".into(), released);
    assert_eq!(
        release_as_exporter(&world, "rig-1", "held", at(2)),
        Ok(None)
    );
    assert_eq!(release_current(&world, "rig-1", at(2)), None);
}

/// An update by the holder.
fn updated(world: &World, times: WantedTimes, to: Option<&str>) -> Result<Lease, Refusal> {
    let change = Update {
        times,
        client: to.map(str::to_owned),
    };
    update(world, &Limits::default(), "dev", "held", &change)
}

#[test]
fn a_running_lease_ends_when_its_owner_wants() {
    let mut world = lab();
    let mut ends = |times| {
        let lease = updated(&world, times, None)?;
        let expiry = expiry(&lease);
        world.leases.insert("held".into(), lease.clone());
        Ok((expiry.unwrap(), lease.duration.unwrap().as_secs()))
    };
    assert_eq!(ends(times(seconds(7200), None, None)), Ok((at(7200), 7200)));
    assert_eq!(ends(times(None, None, stamp(9000))), Ok((at(9000), 9000)));
    assert_eq!(ends(times(seconds(60), None, None)), Ok((at(60), 60)));
    assert_eq!(
        ends(times(seconds(60), None, stamp(100))),
        Err(Refusal::DurationConflicts)
    );
    assert_eq!(
        ends(times(seconds(60), stamp(0), None)),
        Err(Refusal::AlreadyStarted)
    );
    assert_eq!(
        ends(times(None, stamp(0), None)),
        Err(Refusal::DurationRequired)
    );
    assert_eq!(
        ends(times(None, None, stamp(0))),
        Err(Refusal::DurationNotPositive("0s".into()))
    );
}

#[test]
fn a_begin_can_be_moved_before_it_came() {
    let mut world = lab();
    let wish = Request {
        times: times(seconds(60), stamp(100), None),
        ..request("board")
    };
    ask(&mut world, "later", "dev", wish, at(0));
    let moved = |times| {
        update(
            &world,
            &Limits::default(),
            "dev",
            "later",
            &Update {
                times,
                client: None,
            },
        )
        .map(|lease| {
            (
                lease.begin,
                lease.duration.unwrap().as_secs(),
                expiry(&lease),
            )
        })
    };
    assert_eq!(
        moved(times(seconds(60), stamp(200), None)),
        Ok((Some(at(200)), 60, Some(at(260))))
    );
    assert_eq!(
        moved(times(None, None, stamp(150))),
        Ok((Some(at(100)), 50, Some(at(150))))
    );
    assert_eq!(
        moved(times(seconds(5), None, None)),
        Ok((Some(at(100)), 5, Some(at(105))))
    );
    assert_eq!(
        moved(times(None, stamp(200), None)),
        Err(Refusal::DurationRequired)
    );
}

#[test]
fn only_what_is_running_is_handed_over_and_only_to_somebody() {
    let mut world = lab();
    let (none, unknown) = (WantedTimes::default(), Code::Unknown);
    let given = updated(&world, none, Some("ci")).unwrap();
    assert_eq!(
        (given.client.as_str(), given.held.unwrap().epoch),
        ("ci", 2)
    );
    assert_eq!(
        updated(&world, none, Some("dev")).unwrap(),
        world.leases["held"]
    );
    assert_eq!(
        updated(&world, none, Some("")).unwrap(),
        world.leases["held"]
    );
    let text = "target client not found: Client.jumpstarter.dev \"nobody\" not found";
    refused(updated(&world, none, Some("nobody")), unknown, text);
    let other = Update {
        client: Some("ci".into()),
        ..Update::default()
    };
    let foreign = update(&world, &Limits::default(), "ci", "held", &other);
    refused(foreign, unknown, "UpdateLease permission denied");
    ask(&mut world, "waits", "dev", request("board"), at(0));
    let early = update(&world, &Limits::default(), "dev", "waits", &other);
    refused(
        early,
        unknown,
        "cannot transfer lease: lease has not started yet",
    );
    let full = Limits {
        open_per_client: 0,
        ..Limits::default()
    };
    let full = update(&world, &full, "dev", "held", &other);
    assert_eq!(full.unwrap_err().code(), Code::ResourceExhausted);
    step(&mut world, at(3600));
    let late = updated(&world, none, Some("ci"));
    refused(
        late,
        unknown,
        "cannot transfer lease: lease has already ended",
    );
    let late = updated(&world, times(seconds(60), None, None), None);
    refused(
        late,
        Code::FailedPrecondition,
        "cannot update lease \"held\": lease has already ended",
    );
}

#[test]
fn an_update_gives_nothing_that_policies_deny() {
    let mut world = lab();
    let hour = Rule {
        maximum_duration: Some(Duration::from_secs(3600)),
        ..rule("!team", 0)
    };
    policy(&mut world, "devs", "", vec![hour]);
    let refusal = updated(&world, times(seconds(3601), None, None), None).unwrap_err();
    assert_eq!(refusal.code(), Code::Unknown);
    assert!(
        refusal
            .to_string()
            .starts_with("cannot lengthen lease: no policy admits client \"dev\"")
    );
    assert!(updated(&world, times(seconds(60), None, None), None).is_ok());
    let refusal = updated(&world, WantedTimes::default(), Some("ci")).unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("cannot transfer lease: no policy admits client \"ci\"")
    );
}

#[test]
fn no_time_is_negative_when_the_clock_was_set_back() {
    let world = lab();
    let lease = &world.leases["held"];
    let before = at(0) - Duration::from_secs(500);
    assert_eq!(effective(lease, before).duration, Some(Duration::ZERO));
    assert_eq!(
        effective(lease, at(7)).duration,
        Some(Duration::from_secs(7))
    );
    assert_eq!(effective(lease, at(7)).end, None);
}

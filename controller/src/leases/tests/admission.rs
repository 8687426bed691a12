//! What becomes a lease.

use tonic::Code;
use uuid::Uuid;

use super::{super::*, lab, refused, times};
use crate::{
    model::World,
    sample::{at, keep, labels, request, seconds, stamp},
};

fn created(world: &World, request: Request) -> Result<Created, Refusal> {
    create(
        world,
        &Limits::default(),
        "ci",
        &request,
        Uuid::from_u128(99),
        at(5),
    )
}

/// Duration, begin and end of a lease that asked for them.
fn timed(times: WantedTimes) -> Result<(u64, Option<SystemTime>, Option<SystemTime>), String> {
    let made = created(
        &lab(),
        Request {
            times,
            ..request("board")
        },
    );
    let lease = made.map_err(|refusal| refusal.to_string())?.lease;
    Ok((lease.duration.unwrap().as_secs(), lease.begin, lease.end))
}

#[test]
fn a_wish_becomes_a_lease_that_waits() {
    let wish = Request {
        exporter: Some(String::new()),
        tags: labels(&[("ticket", "a-1")]),
        context: labels(&[("build", "any text at all / ä")]),
        ..request("b!=1, a=2")
    };
    let made = created(&lab(), wish).unwrap();
    assert_eq!(made.name, "00000000-0000-0000-0000-000000000063");
    let lease = made.lease;
    assert_eq!(
        (lease.number, lease.pinned, lease.created),
        (2, None, at(5))
    );
    assert_eq!(lease.selector.to_string(), "a=2,b notin (1)");
    assert!(lease.conditions.is_empty() && lease.held.is_none());
    let named = Request {
        id: "nightly-7".into(),
        ..request("a")
    };
    assert_eq!(created(&lab(), named).unwrap().name, "nightly-7");
}

#[test]
fn times_follow_from_each_other() {
    assert_eq!(timed(times(seconds(60), None, None)), Ok((60, None, None)));
    let begin = times(seconds(60), stamp(10), None);
    assert_eq!(timed(begin), Ok((60, Some(at(10)), None)));
    let window = times(None, stamp(10), stamp(40));
    assert_eq!(timed(window), Ok((30, Some(at(10)), Some(at(40)))));
    let end = times(seconds(60), None, stamp(100));
    assert_eq!(timed(end), Ok((60, Some(at(40)), Some(at(100)))));
    let all = times(seconds(30), stamp(10), stamp(40));
    assert_eq!(timed(all), Ok((30, Some(at(10)), Some(at(40)))));

    let required = "duration is required (must specify Duration, or both BeginTime and EndTime)";
    for alone in [(None, None), (stamp(1), None), (None, stamp(1))] {
        assert_eq!(timed(times(None, alone.0, alone.1)).unwrap_err(), required);
    }
    let conflict = "duration conflicts with begin_time and end_time";
    assert_eq!(
        timed(times(seconds(31), stamp(10), stamp(40))).unwrap_err(),
        conflict
    );
    for (duration, text) in [(0, "0s"), (-5, "-5s")] {
        let error = timed(times(seconds(duration), None, None)).unwrap_err();
        assert_eq!(error, format!("duration must be positive, got {text}"));
    }
    let backwards = timed(times(None, stamp(40), stamp(10))).unwrap_err();
    assert_eq!(backwards, "duration must be positive, got -30s");
}

#[test]
fn absurd_times_are_refused() {
    let too_long = "duration must be at most 36500 days";
    assert_eq!(
        timed(times(seconds(i64::MAX), None, None)).unwrap_err(),
        too_long
    );
    let least = timed(times(seconds(i64::MIN), None, None)).unwrap_err();
    assert!(least.starts_with("duration must be positive"), "{least}");
    for odd in [i64::MIN, -1, 253_402_300_800, i64::MAX] {
        let odd = Some(prost_types::Timestamp {
            seconds: odd,
            nanos: 0,
        });
        let error = timed(times(seconds(1), odd, None)).unwrap_err();
        assert!(error.starts_with("begin_time is out of range"), "{error}");
    }
    let odd = Some(prost_types::Timestamp {
        seconds: 5,
        nanos: -1,
    });
    assert!(
        timed(times(seconds(1), None, odd))
            .unwrap_err()
            .starts_with("end_time is out")
    );
    let last = Some(prost_types::Timestamp {
        seconds: 253_402_300_799,
        nanos: 0,
    });
    assert!(
        timed(times(seconds(1), last, None))
            .unwrap_err()
            .starts_with("end_time is out")
    );
    let first = Some(prost_types::Timestamp {
        seconds: 5,
        nanos: 0,
    });
    assert!(
        timed(times(seconds(6), None, first))
            .unwrap_err()
            .starts_with("begin_time is out")
    );
}

#[test]
fn what_is_against_the_rules_is_refused_with_the_known_texts() {
    let (world, invalid) = (lab(), Code::InvalidArgument);
    let nothing = Request {
        exporter: Some(String::new()),
        ..request("")
    };
    refused(
        created(&world, nothing),
        invalid,
        "one of selector or exporter_name is required",
    );
    let tags = |pairs: &[(&str, &str)]| Request {
        tags: labels(pairs),
        ..request("a")
    };
    for (key, value, text) in [
        (
            "jumpstarter.dev/x",
            "",
            "tag key \"jumpstarter.dev/x\" must not use reserved prefix",
        ),
        (
            "a/b",
            "",
            "tag key \"a/b\" must not contain '/' (use simple names without prefix)",
        ),
        ("-a", "", "tag key \"-a\" is not a valid label key"),
        ("", "", "tag key \"\" is not a valid label key"),
        (
            "a",
            "b c",
            "tag value for key \"a\" is not a valid label value",
        ),
    ] {
        let refusal = created(&world, tags(&[(key, value)])).unwrap_err();
        assert_eq!(refusal.code(), invalid);
        let said = refusal.to_string();
        assert!(
            said.starts_with(&format!("invalid lease tags: {text}")),
            "{said}"
        );
    }
    let many: Vec<_> = (0..11).map(|number| format!("t{number}")).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
    assert!(created(&world, tags(&many[..10])).is_ok());
    refused(
        created(&world, tags(&many)),
        invalid,
        "invalid lease tags: too many tags: 11 (maximum 10)",
    );

    let context = |key: &str, value: &str| Request {
        context: labels(&[(key, value)]),
        ..request("a")
    };
    assert!(created(&world, context(&"k".repeat(32), &"ä".repeat(64))).is_ok());
    for wrong in [
        context("", ""),
        context(&"k".repeat(33), ""),
        context("k", &"v".repeat(65)),
    ] {
        assert_eq!(created(&world, wrong).unwrap_err().code(), invalid);
    }
    let nine = Request {
        context: labels(&many[..9]),
        ..request("a")
    };
    refused(
        created(&world, nine),
        invalid,
        "invalid lease context: too many entries: 9 (maximum 8)",
    );

    assert_eq!(
        created(&world, request("a in")).unwrap_err().code(),
        Code::Unknown
    );
    assert_eq!(
        created(&world, request("a=1,a=2")).unwrap_err().code(),
        Code::Unknown
    );
    let named = |id: &str| Request {
        id: id.into(),
        ..request("a")
    };
    assert_eq!(
        created(&world, named("Not A Name")).unwrap_err().code(),
        Code::Unknown
    );
    let text = "leases.jumpstarter.dev \"held\" already exists";
    refused(created(&world, named("held")), Code::Unknown, text);
}

#[test]
fn of_ten_thousand_wishes_of_one_client_a_hundred_are_admitted() {
    let mut world = lab();
    let (mut admitted, mut refusals) = (0, 0);
    for number in 0..10_000 {
        let fresh = Uuid::from_u128(1000 + number);
        match create(
            &world,
            &Limits::default(),
            "ci",
            &request("board"),
            fresh,
            at(1),
        ) {
            Ok(made) => {
                admitted += 1;
                keep(&mut world, &made.name, made.lease);
            }
            Err(refusal) => {
                refusals += 1;
                assert_eq!(refusal.code(), Code::ResourceExhausted);
            }
        }
    }
    assert_eq!((admitted, refusals), (100, 9_900));
    let text =
        "client \"ci\" has 100 open leases, the most a client may have: release some of them first";
    refused(
        created(&world, request("board")),
        Code::ResourceExhausted,
        text,
    );
    // Other clients are not concerned, and one that is over makes room.
    let (limits, fresh) = (Limits::default(), Uuid::from_u128(77_777));
    assert!(create(&world, &limits, "dev", &request("board"), fresh, at(1)).is_ok());
    let first = Uuid::from_u128(1000).to_string();
    let released = delete(&world, "ci", &first, &first, at(2))
        .unwrap()
        .unwrap();
    world.leases.insert(first, released);
    assert!(created(&world, request("board")).is_ok());
}

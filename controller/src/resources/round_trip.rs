//! The model through its objects and their texts, and back.

use std::time::{Duration, SystemTime};

use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
};
use uuid::Uuid;

use super::{tests::at, *};
use crate::{
    model::{self, ConditionKind, Device, End, ExporterState, Held, Labels, Over, Presence, Rule},
    selector::{Operator, Requirement, Selector},
};

const LAB: Lab<'_> = Lab {
    namespace: "lab",
    endpoint: "ctl:8082",
};

fn times() -> impl Strategy<Value = SystemTime> {
    (0..4_000_000_000_u64).prop_map(at)
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..10_000_000_u64).prop_map(Duration::from_secs),
        (0..10_000_000_000_000_u64).prop_map(Duration::from_nanos),
    ]
}

fn ids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map("[a-z]{1,4}(/[a-z]{1,4})?", "([a-z0-9]{1,4})?", 0..4)
}

fn selectors() -> impl Strategy<Value = Selector> {
    let values = || btree_set("[a-z0-9]{1,4}", 1..4);
    let operator = prop_oneof![
        "[a-z0-9]{0,4}".prop_map(Operator::Equals),
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    btree_map("[a-z]{1,4}", operator, 0..4).prop_map(|all| {
        let all = all.into_iter();
        Selector::new(all.map(|(key, operator)| Requirement { key, operator })).unwrap()
    })
}

prop_compose! {
    fn exporters()(
        uid in ids(), labels in labels(), created in times(), enabled in any::<bool>(),
        devices in vec(("[a-f0-9]{8}", option::of("[a-f0-9]{8}"), labels()), 0..3),
        message in ".{0,20}", last_seen in option::of(times()), lost in any::<bool>(),
    ) -> model::Exporter {
        let device = |(uuid, parent_uuid, labels)| Device { uuid, parent_uuid, labels };
        model::Exporter {
            uid, labels, created, enabled,
            tokens_from: created,
            held: None,
            hosted: false,
            devices: devices.into_iter().map(device).collect(),
            presence: Presence {
                status: lost.then_some(ExporterState::AfterLeaseHookFailed),
                message, last_seen,
                ..Presence::default()
            },
        }
    }
}

prop_compose! {
    fn leases()(
        (uid, number, client, selector) in (ids(), any::<u64>(), "[a-z]{1,9}", selectors()),
        (pinned, allow_disabled, duration) in (option::of("[a-z]{1,9}"), any::<bool>(), option::of(durations())),
        (begin, end, tags, context) in (option::of(times()), option::of(times()), labels(), labels()),
        (created, priority, held, over) in (times(), -9..9_i64, option::of(("[a-z]{1,9}", times())), option::of((times(), 0..4_usize))),
        waited in option::of((times(), ".{0,50}")),
    ) -> model::Lease {
        let condition = |kind, status, reason: &str, message: &str, since| model::Condition {
            kind, status, since, reason: reason.into(), message: message.into(),
        };
        let mut conditions = Vec::new();
        if let Some((since, message)) = waited {
            conditions.push(condition(ConditionKind::Pending, true, "NotAvailable", &message, since));
        }
        let over = over.map(|(at, how)| {
            let (how, kind, reason) = [
                (End::Released, ConditionKind::Ready, "Released"),
                (End::Expired, ConditionKind::Ready, "Expired"),
                (End::Unsatisfiable, ConditionKind::Unsatisfiable, "NoAccess"),
                (End::Invalid, ConditionKind::Invalid, "InvalidSelector"),
            ][how];
            conditions.push(condition(kind, kind != ConditionKind::Ready, reason, "", at));
            Over { at, how }
        });
        let held = held.map(|(exporter, since)| Held { exporter, since, epoch: 0 });
        model::Lease {
            uid, number, client, selector, pinned, allow_disabled, duration, begin, end, tags,
            context, created, priority, held, over, conditions,
        }
    }
}

/// Through the object and both of its texts, as it was.
fn through<T: Resource + PartialEq + std::fmt::Debug>(object: T) -> T {
    assert_eq!(T::from_json(&object.dump_json()).unwrap(), object);
    assert_eq!(T::from_yaml(&object.dump_yaml()).unwrap(), object);
    object
}

proptest! {
    #[test]
    fn exporters_survive_their_objects(exporter in exporters(), lease in option::of("[a-z]{1,9}")) {
        let object = through(Exporter::from_model("rig", &exporter, lease.as_deref(), &LAB));
        prop_assert_eq!(object.to_model(at(0)).unwrap(), exporter);
    }

    #[test]
    fn leases_survive_their_objects(lease in leases()) {
        let object = through(Lease::from_model("one", &lease, &LAB));
        prop_assert_eq!(object.to_model(lease.number, at(0)).unwrap(), lease);
    }

    #[test]
    fn clients_survive_their_objects(uid in ids(), labels in labels(), created in times()) {
        let client = model::Client { uid, labels, created, tokens_from: created };
        let object = through(Client::from_model("ci", &client, &LAB));
        prop_assert_eq!(object.to_model(at(0)).unwrap(), client);
    }

    #[test]
    fn policies_survive_their_objects(
        uid in ids(), created in times(), exporters in selectors(),
        rules in vec((".{0,9}", -9..9_i64, vec(selectors(), 0..3), option::of(durations()), any::<bool>()), 0..3),
    ) {
        let rules = rules.into_iter().map(|(description, priority, from, maximum_duration, spot)| {
            Rule { description, priority, from, maximum_duration, spot }
        });
        let policy = model::AccessPolicy { uid, created, exporters, rules: rules.collect() };
        let object = through(ExporterAccessPolicy::from_model("all", &policy, &LAB));
        prop_assert_eq!(object.to_model(at(0)).unwrap(), policy);
    }

    #[test]
    fn durations_survive_their_text(duration in durations()) {
        let text = GoDuration(duration).to_string();
        prop_assert_eq!(text.parse::<GoDuration>().unwrap().0, duration);
    }

    #[test]
    fn times_survive_their_text(time in times()) {
        let text = Timestamp::from(time).to_string();
        prop_assert_eq!(SystemTime::from(text.parse::<Timestamp>().unwrap()), time);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-:a-z0-9.+µTZ {}\\[\\]\"\n]{0,40}") {
        text.parse::<GoDuration>().ok();
        text.parse::<Timestamp>().ok();
        read_objects(&text).ok();
    }
}

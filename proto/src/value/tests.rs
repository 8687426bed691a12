//! Tests of the value translation: the table of kinds, limits, and round trips.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn number(n: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(n)),
    }
}

fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    }
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(number(1.0), |inner, _| list(vec![inner]))
}

#[test]
fn unset_kind_and_null_are_null() {
    assert_eq!(to_json(Value { kind: None }), Ok(json!(null)));
    assert_eq!(to_json(from_json(json!(null))), Ok(json!(null)));
    assert_eq!(from_json(json!(null)).kind, Some(Kind::NullValue(0)));
}

#[test]
fn empty_containers_keep_their_kind() {
    assert_eq!(from_json(json!([])), list(vec![]));
    assert_eq!(to_json(from_json(json!([]))), Ok(json!([])));
    assert_eq!(to_json(from_json(json!({}))), Ok(json!({})));
}

#[test]
fn integral_doubles_become_integers_up_to_2_53() {
    for (n, expected) in [
        (0.0, 0_i64),
        (2.0, 2),
        (-3.0, -3),
        (EXACT_INTEGERS, 1 << 53),
        (-EXACT_INTEGERS, -(1 << 53)),
    ] {
        // Compared as texts: an equal float would be "2.0".
        let json = to_json(number(n)).unwrap();
        assert_eq!(json.to_string(), expected.to_string());
        assert_eq!(json.as_i64(), Some(expected));
    }
}

#[test]
fn other_doubles_stay_floats() {
    for n in [0.5, -1.25, EXACT_INTEGERS + 2.0, 1e300, f64::MIN_POSITIVE] {
        let json = to_json(number(n)).unwrap();
        assert!(json.is_f64(), "{n} became {json}");
        assert_eq!(json.as_f64(), Some(n));
    }
}

#[test]
fn negative_zero_keeps_its_sign() {
    let json = to_json(number(-0.0)).unwrap();
    assert!(json.is_f64());
    assert!(json.as_f64().unwrap().is_sign_negative());
    assert!(matches!(
        from_json(json).kind,
        Some(Kind::NumberValue(n)) if n == 0.0 && n.is_sign_negative()
    ));
}

#[test]
fn not_finite_arguments_are_refused_also_inside() {
    for (n, name) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "Infinity"),
    ] {
        let text = format!(
            "Fail to serialize {name} for Value.number_value, which would parse as string_value"
        );
        let object = Value {
            kind: Some(Kind::StructValue(Struct {
                fields: [("key".to_owned(), number(n))].into(),
            })),
        };
        for value in [number(n), list(vec![number(1.0), number(n)]), object] {
            assert_eq!(to_json(value).unwrap_err().to_string(), text);
        }
    }
}

#[test]
fn nesting_is_bounded() {
    assert!(to_json(nested(MAX_DEPTH)).is_ok());
    assert_eq!(to_json(nested(MAX_DEPTH + 1)), Err(ValueError::TooDeep));
}

#[test]
fn large_integers_lose_precision_only() {
    let wire = from_json(json!((1_u64 << 60) + 1));
    assert_eq!(wire, number((1_u64 << 60) as f64));
}

fn any_value() -> impl Strategy<Value = Value> {
    let finite = prop_oneof![
        any::<f64>().prop_filter("finite", |n| n.is_finite()),
        any::<i32>().prop_map(f64::from),
    ];
    let leaf = prop_oneof![
        Just(Value { kind: Some(null()) }),
        any::<bool>().prop_map(|b| Value {
            kind: Some(Kind::BoolValue(b))
        }),
        finite.prop_map(number),
        any::<String>().prop_map(|s| Value {
            kind: Some(Kind::StringValue(s))
        }),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(list),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|fields| Value {
                kind: Some(Kind::StructValue(Struct { fields }))
            }),
        ]
    })
}

proptest! {
    // The debug texts are compared because `==` takes 0.0 and -0.0 for equal.
    #[test]
    fn wire_to_json_and_back_is_the_same(value in any_value()) {
        let json = to_json(value.clone()).unwrap();
        prop_assert_eq!(format!("{:?}", from_json(json)), format!("{value:?}"));
    }

    #[test]
    fn every_double_is_translated_or_refused(bits in any::<u64>()) {
        let n = f64::from_bits(bits);
        match to_json(number(n)) {
            Ok(json) => prop_assert_eq!(json.as_f64(), Some(n)),
            Err(error) => {
                prop_assert!(!n.is_finite());
                prop_assert!(matches!(error, ValueError::NotFinite(_)));
            }
        }
    }
}

//! Numbers out of a device's JSON.

use rigd_driver::Value;

/// The value at a dotted path such as `meters.0.power`; list indexes are numbers.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, word| match value {
        Value::Object(map) => map.get(word),
        Value::Array(list) => list.get(word.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A number, also one that the device writes as text.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// The number at a path.
pub(crate) fn number_at(value: &Value, path: &str) -> Option<f64> {
    at(value, path).and_then(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_through_maps_and_lists() {
        let value = json!({"a": [{"b": " 1.5 "}, 2]});
        assert_eq!(number_at(&value, "a.0.b"), Some(1.5));
        assert_eq!(number_at(&value, "a.1"), Some(2.0));
        for missing in ["a.2", "a.x", "b", "a.1.c", ""] {
            assert_eq!(at(&value, missing), None, "{missing}");
        }
        for odd in [json!(true), json!("NaN"), json!(null), json!("on")] {
            assert_eq!(number(&odd), None, "{odd}");
        }
    }
}

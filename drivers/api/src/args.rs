//! Positional arguments of a call, decoded into the types of a method.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::DriverError;

/// The arguments of one call, taken one by one.
pub(crate) struct Args {
    values: std::vec::IntoIter<Value>,
    given: usize,
    taken: usize,
}

impl Args {
    /// Checks the number of arguments first, so that nothing is decoded of a call that is wrong.
    pub(crate) fn new(values: Vec<Value>, arity: usize) -> Result<Self, DriverError> {
        let given = values.len();
        if given > arity {
            let noun = if arity == 1 { "argument" } else { "arguments" };
            return Err(DriverError::InvalidArgument(format!(
                "takes at most {arity} {noun}, {given} given"
            )));
        }
        Ok(Self {
            values: values.into_iter(),
            given,
            taken: 0,
        })
    }

    /// The next argument. A missing one is null, which only optional parameters accept.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> Result<T, DriverError> {
        self.taken += 1;
        let position = self.taken;
        let missing = position > self.given;
        let value = self.values.next().unwrap_or(Value::Null);
        // An integer on the wire is a double, which has two zeros.
        let negative_zero = value
            .as_f64()
            .is_some_and(|n| n == 0.0 && n.is_sign_negative());
        let mut decoded = serde_json::from_value(value);
        if negative_zero && decoded.is_err() {
            decoded = serde_json::from_value(Value::from(0));
        }
        decoded.map_err(|error| {
            DriverError::InvalidArgument(if missing {
                format!("argument {position} is missing, {} given", self.given)
            } else {
                format!("argument {position}: {error}")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn too_many_too_few_and_wrong_arguments_are_told_apart() {
        let text = |r: Result<u32, DriverError>| r.unwrap_err().to_string();
        let error = Args::new(vec![json!(1), json!(2)], 1).map(|_| 0u32);
        assert_eq!(text(error), "takes at most 1 argument, 2 given");
        let missing = Args::new(vec![], 1).unwrap().take::<u32>();
        assert_eq!(text(missing), "argument 1 is missing, 0 given");
        let wrong = Args::new(vec![json!("x")], 1).unwrap().take::<u32>();
        assert!(text(wrong).starts_with("argument 1: invalid type: string \"x\""));
    }

    #[test]
    fn negative_zero_is_an_integer_and_stays_negative_elsewhere() {
        let zeros = || Args::new(vec![json!(-0.0)], 1).unwrap();
        assert_eq!(zeros().take::<i64>().unwrap(), 0);
        assert_eq!(zeros().take::<Option<u8>>().unwrap(), Some(0));
        assert!(zeros().take::<f64>().unwrap().is_sign_negative());
        assert!(zeros().take::<String>().is_err());
    }

    #[test]
    fn a_missing_optional_argument_is_none() {
        assert_eq!(
            Args::new(vec![], 1).unwrap().take::<Option<u32>>().unwrap(),
            None
        );
    }
}

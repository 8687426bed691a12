//! What the board measures, from its text.

use rigd_drivers_power::Reading;

/// The last number with `V` and the last one with `A`, in any case; what else there is does not count.
pub(crate) fn parse(text: &str) -> Reading {
    let mut reading = Reading {
        voltage: 0.0,
        current: 0.0,
    };
    for word in text.split([' ', '\t', '\r', '\n', '\0']) {
        if let Some(volts) = number(word, ['V', 'v']) {
            reading.voltage = volts;
        } else if let Some(amperes) = number(word, ['A', 'a']) {
            reading.current = amperes;
        }
    }
    reading
}

fn number(word: &str, unit: [char; 2]) -> Option<f64> {
    let digits = word.strip_suffix(unit)?;
    // `inf` and `nan` are numbers to the parser, and none to a client.
    digits
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn volts_and_amperes_are_found_among_other_words() {
        let of = |text| {
            let reading = parse(text);
            (reading.voltage, reading.current)
        };
        assert_eq!(of("5.10V 0.30A"), (5.1, 0.3));
        assert_eq!(of("power: 12v, 5.00W -0.01a\0\0"), (0.0, -0.01));
        assert_eq!(of("0.30A\r\n5V"), (5.0, 0.3));
        assert_eq!(of("V A"), (0.0, 0.0));
        assert_eq!(of("infV nanA"), (0.0, 0.0));
        assert_eq!(of(""), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn whatever_a_board_says_gives_numbers(text: String) {
            let reading = parse(&text);
            prop_assert!(reading.voltage.is_finite() && reading.current.is_finite());
        }
    }
}

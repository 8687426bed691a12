use proptest::prelude::*;

use super::*;

#[test]
fn frames_end_with_the_sum_of_what_is_before() {
    assert_eq!(frame(1, true), [0xa0, 0x01, 0x01, 0xa2]);
    assert_eq!(frame(2, false), [0xa0, 0x02, 0x00, 0xa2]);
    assert_eq!(checked([HEAD, 0x0f, 0x02]), [0xa0, 0x0f, 0x02, 0xb1]);
    // Beyond a byte it starts anew.
    assert_eq!(frame(0xff, true)[3], 0xa0);
}

#[test]
fn several_channels_are_on_off_or_something_between() {
    assert_eq!(word(&[(1, true), (2, true)]), "on");
    assert_eq!(word(&[(1, false)]), "off");
    assert_eq!(word(&[(1, true), (2, false)]), "partial");
}

proptest! {
    #[test]
    fn whatever_a_board_says_is_read(answer: Vec<u8>, channels: Vec<u8>) {
        if let Ok(states) = states(&answer, &channels) {
            prop_assert_eq!(states.len(), channels.len());
        }
    }

    #[test]
    fn lines_are_found_between_anything(before in "[^:]*", on: bool, channel: u8) {
        let word = if on { "ON" } else { "OFF" };
        let text = format!("{before}\nCH{channel}:{word}\n");
        let states = states(text.as_bytes(), &[channel]).unwrap();
        prop_assert_eq!(states, vec![(channel, on)]);
    }
}

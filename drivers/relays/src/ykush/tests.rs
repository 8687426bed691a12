use proptest::prelude::*;

use super::*;

#[test]
fn an_answer_counts_for_its_own_port_only() {
    assert_eq!(status(1, &[1, 0x11, 0]), Some(true));
    assert_eq!(status(3, &[1, 0x03, 0]), Some(false));
    assert_eq!(status(2, &[1, 0x11, 0]), None);
    assert_eq!(status(1, &[0xff, 0x11, 0]), None);
    assert_eq!(status(1, &[1]), None);
}

proptest! {
    #[test]
    fn whatever_a_board_answers_is_read(port in 1_u8..=3, answer: Vec<u8>) {
        if status(port, &answer).is_some() {
            prop_assert_eq!(answer[1] & 0x0f, port);
        }
    }
}

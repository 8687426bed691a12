use proptest::prelude::*;

use super::*;

#[test]
fn a_report_tells_the_number_and_the_relays() {
    let told = Told::parse(b"HW341\0\0\x82").unwrap();
    assert_eq!(told.number, "HW341");
    let on: Vec<_> = (0..=9).filter(|relay| told.is_on(*relay)).collect();
    assert_eq!(on, [2, 8]);
    assert_eq!(Told::parse(b"HW341\0\0"), None);
    assert_eq!(Told::parse(&[0; 8]), None);
}

proptest! {
    #[test]
    fn whatever_a_board_tells_is_read(report: Vec<u8>, relay: u8) {
        if let Some(told) = Told::parse(&report) {
            prop_assert_eq!(told.number.len(), NUMBER);
            told.is_on(relay);
        }
    }
}

//! A board owner's own test class, with the released pytest package, on the example exporter.

mod support;

use support::case::Rig;

mod over_a_unix_socket {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Example,
        "test_seed.py::TestSeed",
        [
            boots_the_image_it_was_given,
            a_short_image_after_a_long_one,
            an_empty_card_does_not_boot,
            an_image_of_zeros_does_not_boot,
            an_interrupted_write_does_not_boot,
        ]
    );
}

mod over_tcp {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::ExampleTcp,
        "test_seed.py::TestSeed",
        [
            boots_the_image_it_was_given,
            a_short_image_after_a_long_one,
            an_empty_card_does_not_boot,
            an_image_of_zeros_does_not_boot,
            an_interrupted_write_does_not_boot,
        ]
    );
}

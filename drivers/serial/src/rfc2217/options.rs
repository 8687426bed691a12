//! Which Telnet options are on, in which direction.
//!
//! ```text
//!   off ──we ask──> asked ──yes──> on          off ──the peer asks──> on, and we say so
//!                     └─────no──> refused      on ──the peer says no──> refused, and we say so
//! ```
//!
//! An answer is never answered, and what was refused once stays so: thus two ends cannot go round in
//! circles, whatever is on its way between them (RFC 1143 has the whole trouble).

use super::telnet::Verb;

/// RFC 856: bytes as they are.
const BINARY: u8 = 0;
/// RFC 857: the far end gives back what it is sent, which is for the board to do.
const ECHO: u8 = 1;
/// RFC 858: no turns are taken.
const SUPPRESS_GO_AHEAD: u8 = 3;
/// RFC 2217.
pub(super) const COM_PORT: u8 = 44;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Side {
    #[default]
    Off,
    Asked,
    On,
    Refused,
}

/// Options by what each end does.
#[derive(Debug, Default)]
pub(super) struct Options {
    we_binary: Side,
    they_binary: Side,
    we_suppress: Side,
    they_suppress: Side,
    we_com_port: Side,
    they_com_port: Side,
    they_echo: Side,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Answers are missing.
    Open,
    /// Bytes go as they are in both directions, and the port can be controlled.
    Reached,
    /// The peer does not want that.
    Refused(&'static str),
}

impl Options {
    /// What is asked for at the beginning.
    pub(super) fn ask(&mut self) -> [(Verb, u8); 5] {
        for side in [
            &mut self.we_binary,
            &mut self.they_binary,
            &mut self.we_suppress,
            &mut self.they_suppress,
            &mut self.we_com_port,
        ] {
            *side = Side::Asked;
        }
        [
            (Verb::Will, COM_PORT),
            (Verb::Will, BINARY),
            (Verb::Do, BINARY),
            (Verb::Will, SUPPRESS_GO_AHEAD),
            (Verb::Do, SUPPRESS_GO_AHEAD),
        ]
    }

    /// Hears the peer, and says what to answer.
    pub(super) fn hear(&mut self, verb: Verb, option: u8) -> Option<(Verb, u8)> {
        let ours = matches!(verb, Verb::Do | Verb::Dont);
        let wanted = matches!(verb, Verb::Do | Verb::Will);
        let (yes, no) = if ours {
            (Verb::Will, Verb::Wont)
        } else {
            (Verb::Do, Verb::Dont)
        };
        let Some(side) = self.side(ours, option) else {
            return wanted.then_some((no, option));
        };
        let (next, answer) = match (*side, wanted) {
            (Side::Asked | Side::On, true) => (Side::On, None),
            (Side::Off, true) => (Side::On, Some((yes, option))),
            (Side::Refused, true) => (Side::Refused, Some((no, option))),
            (Side::Asked, false) => (Side::Refused, None),
            (Side::On, false) => (Side::Refused, Some((no, option))),
            (Side::Off | Side::Refused, false) => (*side, None),
        };
        *side = next;
        answer
    }

    /// Whether the peer's bytes are as they are.
    pub(super) fn they_are_binary(&self) -> bool {
        self.they_binary == Side::On
    }

    pub(super) fn agreement(&self) -> Agreement {
        let com_port = [self.we_com_port, self.they_com_port].contains(&Side::On);
        let binary = [self.we_binary, self.they_binary];
        if self.we_com_port == Side::Refused && !com_port {
            return Agreement::Refused("COM-PORT-OPTION (44)");
        }
        if binary.contains(&Side::Refused) {
            return Agreement::Refused("TRANSMIT-BINARY (0)");
        }
        if com_port && binary == [Side::On; 2] {
            return Agreement::Reached;
        }
        Agreement::Open
    }

    fn side(&mut self, ours: bool, option: u8) -> Option<&mut Side> {
        match (ours, option) {
            (true, BINARY) => Some(&mut self.we_binary),
            (false, BINARY) => Some(&mut self.they_binary),
            (true, SUPPRESS_GO_AHEAD) => Some(&mut self.we_suppress),
            (false, SUPPRESS_GO_AHEAD) => Some(&mut self.they_suppress),
            (true, COM_PORT) => Some(&mut self.we_com_port),
            (false, COM_PORT) => Some(&mut self.they_com_port),
            (false, ECHO) => Some(&mut self.they_echo),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_reached_when_all_that_matters_is_granted() {
        let mut options = Options::default();
        options.ask();
        for (verb, option) in [(Verb::Do, COM_PORT), (Verb::Do, BINARY)] {
            assert_eq!(options.hear(verb, option), None);
            assert_eq!(options.agreement(), Agreement::Open);
        }
        assert_eq!(options.hear(Verb::Will, BINARY), None);
        assert_eq!(options.agreement(), Agreement::Reached);
        // What nobody needs may be refused.
        assert_eq!(options.hear(Verb::Dont, SUPPRESS_GO_AHEAD), None);
        assert_eq!(options.agreement(), Agreement::Reached);
        // One that stops being binary cannot carry a console.
        let answer = options.hear(Verb::Wont, BINARY);
        assert_eq!(answer, Some((Verb::Dont, BINARY)));
        assert!(matches!(options.agreement(), Agreement::Refused(_)));
    }

    #[test]
    fn a_refusal_is_named() {
        let mut options = Options::default();
        options.ask();
        options.hear(Verb::Dont, COM_PORT);
        let refused = Agreement::Refused("COM-PORT-OPTION (44)");
        assert_eq!(options.agreement(), refused);
        // Some servers offer it by themselves, too.
        assert_eq!(
            options.hear(Verb::Will, COM_PORT),
            Some((Verb::Do, COM_PORT))
        );
        assert_eq!(options.agreement(), Agreement::Open);
    }

    #[test]
    fn the_unknown_is_refused() {
        let mut options = Options::default();
        assert_eq!(options.hear(Verb::Do, 24), Some((Verb::Wont, 24)));
        assert_eq!(options.hear(Verb::Will, 24), Some((Verb::Dont, 24)));
        assert_eq!(options.hear(Verb::Dont, 24), None);
        assert_eq!(options.hear(Verb::Will, ECHO), Some((Verb::Do, ECHO)));
    }

    fn verb() -> impl Strategy<Value = Verb> {
        prop_oneof![
            Just(Verb::Will),
            Just(Verb::Wont),
            Just(Verb::Do),
            Just(Verb::Dont)
        ]
    }

    proptest! {
        // Two ends of this kind fall silent, whatever was said before.
        #[test]
        fn two_ends_do_not_go_round_in_circles(
            said in prop::collection::vec((verb(), prop_oneof![0_u8..5, Just(COM_PORT)]), 0..50),
        ) {
            let (mut one, mut other) = (Options::default(), Options::default());
            let mut to_other: Vec<_> = one.ask().into();
            let mut to_one = said;
            for _ in 0..6 {
                to_other.extend(to_one.drain(..).filter_map(|(verb, option)| one.hear(verb, option)));
                to_one.extend(to_other.drain(..).filter_map(|(verb, option)| other.hear(verb, option)));
            }
            prop_assert!(to_one.is_empty());
        }
    }
}

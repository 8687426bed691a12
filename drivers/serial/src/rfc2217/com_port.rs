//! Requests and answers of the COM-PORT-OPTION (RFC 2217, sections 3 and 4).
//!
//! A client sends a command and its value; the server answers with the command plus 100 and the value
//! that is in force now.

use std::fmt;

use crate::settings::{FlowControl, Parity};

const SET_BAUDRATE: u8 = 1;
const SET_DATASIZE: u8 = 2;
const SET_PARITY: u8 = 3;
const SET_STOPSIZE: u8 = 4;
const SET_CONTROL: u8 = 5;
const NOTIFY_LINESTATE: u8 = 106;
const NOTIFY_MODEMSTATE: u8 = 107;
const FLOWCONTROL_SUSPEND: u8 = 108;
const FLOWCONTROL_RESUME: u8 = 109;
/// What the server adds to a command that it answers.
const FROM_SERVER: u8 = 100;

/// One setting of the far port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Bits per second.
    Baudrate(u32),
    DataBits(u8),
    Parity(Parity),
    StopBits(u8),
    /// In both directions.
    Flow(FlowControl),
    /// Whether a break is sent.
    Break(bool),
    /// Data Terminal Ready.
    Dtr(bool),
    /// Request To Send.
    Rts(bool),
}

impl Request {
    fn command(self) -> u8 {
        match self {
            Self::Baudrate(_) => SET_BAUDRATE,
            Self::DataBits(_) => SET_DATASIZE,
            Self::Parity(_) => SET_PARITY,
            Self::StopBits(_) => SET_STOPSIZE,
            Self::Flow(_) | Self::Break(_) | Self::Dtr(_) | Self::Rts(_) => SET_CONTROL,
        }
    }

    fn value(self) -> u32 {
        match self {
            Self::Baudrate(baudrate) => baudrate,
            Self::DataBits(bits) | Self::StopBits(bits) => bits.into(),
            Self::Parity(Parity::None) => 1,
            Self::Parity(Parity::Odd) => 2,
            Self::Parity(Parity::Even) => 3,
            Self::Parity(Parity::Mark) => 4,
            Self::Parity(Parity::Space) => 5,
            Self::Flow(FlowControl::None) => 1,
            Self::Flow(FlowControl::XonXoff) => 2,
            Self::Flow(FlowControl::RtsCts) => 3,
            Self::Break(true) => 5,
            Self::Break(false) => 6,
            Self::Dtr(true) => 8,
            Self::Dtr(false) => 9,
            Self::Rts(true) => 11,
            Self::Rts(false) => 12,
        }
    }

    /// Whether it is one of the many things that SET-CONTROL does; some servers leave those without
    /// an answer.
    pub(super) fn is_control(self) -> bool {
        self.command() == SET_CONTROL
    }

    /// As it is sent.
    pub(super) fn payload(self) -> Vec<u8> {
        let value = self.value().to_be_bytes();
        let [.., least] = value;
        match self {
            Self::Baudrate(_) => [&[SET_BAUDRATE], value.as_slice()].concat(),
            _ => vec![self.command(), least],
        }
    }

    /// What an answer means to this request; `None` when it belongs to another one.
    pub(super) fn answered(self, answer: Answer) -> Option<Outcome> {
        if answer.command != self.command() {
            return None;
        }
        if answer.value == self.value() {
            return Some(Outcome::Done);
        }
        // Of a baud rate, 0 is a question; of controls, each group is about one thing.
        let same = !self.is_control() || group(answer.value) == group(self.value());
        same.then_some(Outcome::Instead(answer.value))
    }
}

/// Values of SET-CONTROL that are about the same thing.
fn group(control: u32) -> u8 {
    match control {
        0..=3 | 17 | 19 => 0,
        4..=6 => 1,
        7..=9 => 2,
        10..=12 => 3,
        _ => 4,
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: &bool| if *on { "on" } else { "off" };
        match self {
            Self::Baudrate(baudrate) => write!(f, "{baudrate} baud"),
            Self::DataBits(bits) => write!(f, "{bits} data bits"),
            Self::Parity(parity) => write!(f, "parity {parity:?}"),
            Self::StopBits(bits) => write!(f, "{bits} stop bits"),
            Self::Flow(flow) => write!(f, "flow control {flow:?}"),
            Self::Break(on) => write!(f, "break {}", word(on)),
            Self::Dtr(on) => write!(f, "DTR {}", word(on)),
            Self::Rts(on) => write!(f, "RTS {}", word(on)),
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Another value is in force.
    Instead(u32),
}

/// The server's answer to a command of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    command: u8,
    value: u32,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Answer(Answer),
    /// Errors on the line, and other things about it.
    Line(u8),
    /// Its input lines.
    Modem(u8),
    /// It wants no data for now.
    Suspend,
    Resume,
}

impl Message {
    /// From the payload of a subnegotiation; `None` for what has no meaning here.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        match *payload {
            [NOTIFY_LINESTATE, state] => Some(Self::Line(state)),
            [NOTIFY_MODEMSTATE, state] => Some(Self::Modem(state)),
            [FLOWCONTROL_SUSPEND] => Some(Self::Suspend),
            [FLOWCONTROL_RESUME] => Some(Self::Resume),
            [command, a, b, c, d] if command == FROM_SERVER + SET_BAUDRATE => {
                Some(Self::Answer(Answer {
                    command: SET_BAUDRATE,
                    value: u32::from_be_bytes([a, b, c, d]),
                }))
            }
            [command, value] => {
                let command = command.checked_sub(FROM_SERVER)?;
                let known = (SET_DATASIZE..=SET_CONTROL).contains(&command);
                known.then_some(Self::Answer(Answer {
                    command,
                    value: value.into(),
                }))
            }
            _ => None,
        }
    }
}

/// The errors of a line state, as words.
pub(super) fn line_errors(state: u8) -> Vec<&'static str> {
    let bits = [
        (16, "break"),
        (8, "framing error"),
        (4, "parity error"),
        (2, "overrun"),
    ];
    bits.iter()
        .filter(|(bit, _)| state & bit != 0)
        .map(|(_, word)| *word)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_the_bytes_of_the_document() {
        let requests: [(Request, &[u8], &str); 12] = [
            (
                Request::Baudrate(115_200),
                &[1, 0, 1, 0xc2, 0],
                "115200 baud",
            ),
            (Request::DataBits(7), &[2, 7], "7 data bits"),
            (Request::Parity(Parity::None), &[3, 1], "parity None"),
            (Request::Parity(Parity::Odd), &[3, 2], "parity Odd"),
            (Request::Parity(Parity::Even), &[3, 3], "parity Even"),
            (Request::StopBits(2), &[4, 2], "2 stop bits"),
            (
                Request::Flow(FlowControl::None),
                &[5, 1],
                "flow control None",
            ),
            (
                Request::Flow(FlowControl::XonXoff),
                &[5, 2],
                "flow control XonXoff",
            ),
            (Request::Break(true), &[5, 5], "break on"),
            (Request::Break(false), &[5, 6], "break off"),
            (Request::Dtr(true), &[5, 8], "DTR on"),
            (Request::Rts(false), &[5, 12], "RTS off"),
        ];
        for (request, bytes, words) in requests {
            assert_eq!(request.payload(), bytes);
            assert_eq!(request.to_string(), words);
        }
    }

    #[test]
    fn an_answer_belongs_to_its_request() {
        let answer = |payload: &[u8]| match Message::parse(payload) {
            Some(Message::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        };
        let baud = Request::Baudrate(9600);
        assert_eq!(
            baud.answered(answer(&[101, 0, 0, 0x25, 0x80])),
            Some(Outcome::Done)
        );
        assert_eq!(
            baud.answered(answer(&[101, 0, 0, 0x4b, 0])),
            Some(Outcome::Instead(19_200))
        );
        assert_eq!(baud.answered(answer(&[105, 8])), None);
        let dtr = Request::Dtr(true);
        assert_eq!(dtr.answered(answer(&[105, 8])), Some(Outcome::Done));
        assert_eq!(dtr.answered(answer(&[105, 9])), Some(Outcome::Instead(9)));
        // Of RTS, and of flow control.
        for other in [12, 1, 18] {
            assert_eq!(dtr.answered(answer(&[105, other])), None);
        }
    }

    #[test]
    fn notices_are_told_apart() {
        assert_eq!(Message::parse(&[106, 0x1e]), Some(Message::Line(0x1e)));
        assert_eq!(Message::parse(&[107, 0x30]), Some(Message::Modem(0x30)));
        assert_eq!(Message::parse(&[108]), Some(Message::Suspend));
        assert_eq!(Message::parse(&[109]), Some(Message::Resume));
        assert_eq!(
            line_errors(0x1e),
            ["break", "framing error", "parity error", "overrun"]
        );
        assert!(line_errors(0x61).is_empty());
    }

    proptest! {
        #[test]
        fn foreign_payloads_are_answers_or_nothing(payload in prop::collection::vec(any::<u8>(), 0..8)) {
            if let Some(Message::Answer(answer)) = Message::parse(&payload) {
                prop_assert!((SET_BAUDRATE..=SET_CONTROL).contains(&answer.command));
            }
        }
    }
}

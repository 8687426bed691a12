//! Telnet (RFC 854, 855): takes a stream apart into data, negotiations and subnegotiations, and puts
//! them together.
//!
//! ```text
//!   data ──IAC──> command ──WILL, WONT, DO, DONT──> option ──any byte──> data
//!    ^ │             │ └──────SB──────> sub ──IAC──> end? ──SE──> data
//!    │ └─IAC IAC: 255┘                   ^───IAC: 255─┘ └─ another command: as after IAC
//!    └──── others: no meaning here ┘
//! ```
//!
//! Until a direction is binary (RFC 856), a CR that stands alone travels as CR NUL. Nothing here does
//! I/O, and no bytes of a peer make it fail: what cannot be understood is passed over.

use bytes::{BufMut, BytesMut};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const NUL: u8 = 0;
const CR: u8 = b'\r';

/// The longest of ours has 5 bytes; a peer may describe itself in a text. Longer ones are dropped.
const MAX_SUBNEGOTIATION: usize = 512;

/// What is said of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Will,
    Wont,
    Do,
    Dont,
}

impl Verb {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            WILL => Some(Self::Will),
            WONT => Some(Self::Wont),
            DO => Some(Self::Do),
            DONT => Some(Self::Dont),
            _ => None,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Will => WILL,
            Self::Wont => WONT,
            Self::Do => DO,
            Self::Dont => DONT,
        }
    }
}

/// What comes between data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Something about this option.
    Negotiation(Verb, u8),
    /// The option, and what was sent about it.
    Subnegotiation(u8, Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Command,
    Option(Verb),
    Sub,
    SubCommand,
}

/// Takes apart what a peer sends.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    sub: Vec<u8>,
    after_cr: bool,
    /// The peer sends bytes as they are: CR NUL is two of them.
    pub(super) binary: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Data,
            sub: Vec::new(),
            after_cr: false,
            binary: false,
        }
    }

    /// Takes from `bytes` up to the next event; `None` when they are used up. Data before it goes to
    /// `data`. Pieces may be cut anywhere.
    pub(super) fn next(&mut self, bytes: &mut &[u8], data: &mut BytesMut) -> Option<Event> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == State::Data && self.binary {
                let plain = bytes.iter().position(|b| *b == IAC).unwrap_or(bytes.len());
                if plain > 0 {
                    let (now, later) = bytes.split_at(plain);
                    data.put_slice(now);
                    *bytes = later;
                    continue;
                }
            }
            *bytes = rest;
            if let Some(event) = self.step(byte, data) {
                return Some(event);
            }
        }
        None
    }

    fn step(&mut self, byte: u8, data: &mut BytesMut) -> Option<Event> {
        match (self.state, byte) {
            (State::Data, IAC) => self.state = State::Command,
            (State::Data, _) => self.data(byte, data),
            (State::Command, _) => self.command(byte, data),
            (State::Option(verb), _) => {
                self.state = State::Data;
                return Some(Event::Negotiation(verb, byte));
            }
            (State::Sub, IAC) => self.state = State::SubCommand,
            (State::Sub, _) => self.keep(byte),
            (State::SubCommand, IAC) => {
                self.state = State::Sub;
                self.keep(byte);
            }
            (State::SubCommand, SE) => {
                self.state = State::Data;
                let sub = std::mem::take(&mut self.sub);
                let (option, payload) = sub.split_first()?;
                if sub.len() <= MAX_SUBNEGOTIATION {
                    return Some(Event::Subnegotiation(*option, payload.to_vec()));
                }
            }
            // The end is missing: what follows is a command by itself.
            (State::SubCommand, _) => self.command(byte, data),
        }
        None
    }

    fn command(&mut self, byte: u8, data: &mut BytesMut) {
        self.state = match byte {
            SB => {
                self.sub.clear();
                State::Sub
            }
            _ => Verb::of(byte).map_or(State::Data, State::Option),
        };
        if byte == IAC {
            self.data(byte, data);
        }
    }

    fn data(&mut self, byte: u8, data: &mut BytesMut) {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == CR);
        if !(after_cr && byte == NUL && !self.binary) {
            data.put_u8(byte);
        }
    }

    /// A byte more than the bound is kept, as the mark of one that is too long.
    fn keep(&mut self, byte: u8) {
        if self.sub.len() <= MAX_SUBNEGOTIATION {
            self.sub.push(byte);
        }
    }
}

/// Data as it travels in a binary stream.
pub(super) fn escape(data: &[u8], out: &mut BytesMut) {
    for (index, piece) in data.split(|byte| *byte == IAC).enumerate() {
        if index > 0 {
            out.put_slice(&[IAC, IAC]);
        }
        out.put_slice(piece);
    }
}

pub(super) fn negotiation(verb: Verb, option: u8, out: &mut BytesMut) {
    out.put_slice(&[IAC, verb.byte(), option]);
}

pub(super) fn subnegotiation(option: u8, payload: &[u8], out: &mut BytesMut) {
    out.put_slice(&[IAC, SB, option]);
    escape(payload, out);
    out.put_slice(&[IAC, SE]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(binary: bool, pieces: &[&[u8]]) -> (Vec<u8>, Vec<Event>) {
        let mut decoder = Decoder::new();
        decoder.binary = binary;
        let (mut data, mut events) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while let Some(event) = decoder.next(&mut rest, &mut data) {
                events.push(event);
            }
            assert!(decoder.sub.len() <= MAX_SUBNEGOTIATION + 1);
        }
        (data.to_vec(), events)
    }

    #[test]
    fn a_carriage_return_travels_with_a_nul_until_the_stream_is_binary() {
        assert_eq!(decode(false, &[b"a\r\0b\r\nc\0"]).0, b"a\rb\r\nc\0");
        assert_eq!(decode(true, &[b"a\r\0b"]).0, b"a\r\0b");
    }

    #[test]
    fn what_has_no_meaning_is_passed_over() {
        // AYT, NOP, an SE without its SB, an empty subnegotiation, one without an end.
        let bytes = b"a\xff\xf6b\xff\xf1c\xff\xf0d\xff\xfa\xff\xf0e\xff\xfa\x2c\x01\xff\xfb\x00f";
        let (data, events) = decode(true, &[bytes]);
        assert_eq!(data, b"abcdef");
        assert_eq!(events, [Event::Negotiation(Verb::Will, 0)]);
        let endless = [b"\xff\xfa".as_slice(), &[7; 4000], b"\xff\xf0g"].concat();
        assert_eq!(decode(true, &[&endless]), (b"g".to_vec(), vec![]));
    }

    proptest! {
        #[test]
        fn what_is_put_together_is_taken_apart(
            before: Vec<u8>,
            option: u8,
            payload in prop::collection::vec(any::<u8>(), 0..100),
            after: Vec<u8>,
            cut: prop::sample::Index,
        ) {
            let mut bytes = BytesMut::new();
            escape(&before, &mut bytes);
            subnegotiation(option, &payload, &mut bytes);
            negotiation(Verb::Dont, option, &mut bytes);
            escape(&after, &mut bytes);
            let (one, two) = bytes.split_at(cut.index(bytes.len() + 1));
            let (data, events) = decode(true, &[one, two]);
            // An option of 255 has to be doubled as all other bytes of a subnegotiation.
            prop_assume!(option != IAC);
            prop_assert_eq!(data, [before, after].concat());
            let wanted = [Event::Subnegotiation(option, payload), Event::Negotiation(Verb::Dont, option)];
            prop_assert_eq!(events, wanted);
        }

        #[test]
        fn foreign_bytes_give_the_same_however_they_are_cut(
            bytes in prop::collection::vec(prop_oneof![
                Just(IAC), Just(SB), Just(SE), Just(WILL), Just(DONT), Just(CR), Just(NUL), any::<u8>(),
            ], 0..500),
            binary: bool,
            size in 1_usize..50,
        ) {
            let whole = decode(binary, &[&bytes]);
            prop_assert!(whole.0.len() <= bytes.len());
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(whole, decode(binary, &pieces));
        }
    }
}

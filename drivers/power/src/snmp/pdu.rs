//! What is asked and answered: PDUs (RFC 3416) and the messages of v1 and v2c around them (RFC 1157,
//! RFC 1901).

use super::ber::{self, INTEGER, NULL, OCTETS, Reader, SEQUENCE};

const GET: u8 = 0xa0;
const RESPONSE: u8 = 0xa2;
const SET: u8 = 0xa3;
pub(super) const REPORT: u8 = 0xa8;

/// A question: the value of an object, or a new one for it.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) oid: Vec<u32>,
    pub(super) set: Option<i64>,
}

/// An answer to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) tag: u8,
    pub(super) id: i64,
    pub(super) error: i64,
    /// The first object and its value, both with their tags.
    pub(super) oid: Vec<u8>,
    pub(super) value: (u8, Vec<u8>),
}

impl Ask {
    pub(super) fn encode(&self, id: i64) -> Vec<u8> {
        let (tag, value) = match self.set {
            Some(value) => (SET, ber::integer(value)),
            None => (GET, ber::tlv(NULL, &[])),
        };
        let bind = ber::list(SEQUENCE, &[ber::oid(&self.oid), value]);
        let binds = ber::list(SEQUENCE, &[bind]);
        ber::list(
            tag,
            &[ber::integer(id), ber::integer(0), ber::integer(0), binds],
        )
    }

    /// A question without an object, which an engine answers by saying who it is.
    pub(super) fn discovery(id: i64) -> Vec<u8> {
        let none = ber::tlv(SEQUENCE, &[]);
        ber::list(
            GET,
            &[ber::integer(id), ber::integer(0), ber::integer(0), none],
        )
    }
}

impl Answer {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (tag, content) = reader.any()?;
        if tag != RESPONSE && tag != REPORT {
            return None;
        }
        let mut reader = Reader(content);
        let (id, error, _) = (reader.integer()?, reader.integer()?, reader.integer()?);
        let mut binds = reader.inside(SEQUENCE)?;
        let (oid, value) = match binds.inside(SEQUENCE) {
            Some(mut bind) => {
                let oid = bind.expect(ber::OID)?;
                let (tag, value) = bind.any()?;
                (ber::tlv(ber::OID, oid), (tag, value.to_vec()))
            }
            // An error may come without the objects.
            None => (Vec::new(), (NULL, Vec::new())),
        };
        Some(Self {
            tag,
            id,
            error,
            oid,
            value,
        })
    }

    /// What the answer to `ask` says: the value, if it is an integer.
    pub(super) fn outcome(&self, ask: &Ask) -> Result<Option<i64>, String> {
        if self.error != 0 {
            return Err(status(self.error));
        }
        // RFC 3416, section 3: exceptions in the place of a value.
        match self.value.0 {
            0x80 => {
                return Err(
                    "noSuchObject: the device knows no such OID; are `oid` and `plug` right?"
                        .into(),
                );
            }
            0x81 => {
                return Err(
                    "noSuchInstance: the device has no such outlet; is `plug` right?".into(),
                );
            }
            _ => {}
        }
        if self.oid != ber::oid(&ask.oid) {
            return Err("the device answered for another object".into());
        }
        Ok((self.value.0 == INTEGER)
            .then(|| ber::int(&self.value.1))
            .flatten())
    }
}

/// RFC 3416, section 3.
fn status(error: i64) -> String {
    let (name, help) = match error {
        1 => ("tooBig", ""),
        2 => (
            "noSuchName",
            ": the device knows no such object, or may not write it; are `oid`, `plug` and the community right?",
        ),
        3 => (
            "badValue",
            ": the device takes no such value; are `onValue` and `offValue` right?",
        ),
        4 => ("readOnly", ": the credentials may only read"),
        5 => ("genErr", ": the device failed and does not say why"),
        6 => ("noAccess", ": the credentials may not use this object"),
        7 => ("wrongType", ": the object is no integer; is `oid` right?"),
        10 => (
            "wrongValue",
            ": the device takes no such value; are `onValue` and `offValue` right?",
        ),
        11 => (
            "noCreation",
            ": there is no such object; are `oid` and `plug` right?",
        ),
        12 => ("inconsistentValue", ": the device refuses it now"),
        13 => ("resourceUnavailable", ": the device refuses it now"),
        14 => ("commitFailed", ": the device did not switch"),
        16 => ("authorizationError", ": the credentials are refused"),
        17 => (
            "notWritable",
            ": the object, or the access of these credentials, is read-only",
        ),
        18 => (
            "inconsistentName",
            ": there is no such object; are `oid` and `plug` right?",
        ),
        _ => ("error", ""),
    };
    format!("{name} ({error}){help}")
}

/// A message of v1 (0) or v2c (1).
pub(super) fn community_message(version: i64, community: &str, pdu: Vec<u8>) -> Vec<u8> {
    let parts = [
        ber::integer(version),
        ber::tlv(OCTETS, community.as_bytes()),
        pdu,
    ];
    ber::list(SEQUENCE, &parts)
}

/// The answer in a message of that version.
pub(super) fn community_answer(version: i64, bytes: &[u8]) -> Option<Answer> {
    let mut message = Reader(bytes).inside(SEQUENCE)?;
    if message.integer()? != version {
        return None;
    }
    message.expect(OCTETS)?;
    Answer::decode(&mut message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_in_v2c_byte_by_byte() {
        let ask = Ask {
            oid: vec![1, 3, 6, 1, 4, 1, 318, 5],
            set: Some(2),
        };
        let message = community_message(1, "private", ask.encode(0x1234));
        let wanted: [&[u8]; 4] = [
            b"\x30\x29\x02\x01\x01\x04\x07private", // the message: v2c, community
            b"\xa3\x1b\x02\x02\x12\x34\x02\x01\x00\x02\x01\x00", // SET: id, error, index
            b"\x30\x0f\x30\x0d\x06\x08\x2b\x06\x01\x04\x01\x82\x3e\x05", // the object
            b"\x02\x01\x02",                        // its value
        ];
        let wanted = wanted.concat();
        assert_eq!(message, wanted);
    }

    #[test]
    fn answers_are_told_from_errors() {
        let ask = Ask {
            oid: vec![1, 3, 1],
            set: None,
        };
        let answer = |error, oid: &[u32], value: (u8, Vec<u8>)| Answer {
            tag: RESPONSE,
            id: 1,
            error,
            oid: ber::oid(oid),
            value,
        };
        assert_eq!(
            answer(0, &[1, 3, 1], (INTEGER, vec![1])).outcome(&ask),
            Ok(Some(1))
        );
        assert_eq!(
            answer(0, &[1, 3, 1], (OCTETS, vec![1])).outcome(&ask),
            Ok(None)
        );
        assert!(
            answer(0, &[1, 3, 2], (INTEGER, vec![1]))
                .outcome(&ask)
                .is_err()
        );
        assert!(
            answer(0, &[1, 3, 1], (0x81, vec![]))
                .outcome(&ask)
                .unwrap_err()
                .starts_with("noSuchInstance")
        );
        assert!(
            answer(17, &[1, 3, 1], (INTEGER, vec![1]))
                .outcome(&ask)
                .unwrap_err()
                .starts_with("notWritable (17)")
        );
    }
}

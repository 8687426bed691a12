//! The packets of MQTT 3.1.1 (OASIS standard, 29 October 2014) that a client with one subscription
//! needs.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest packet that is taken: what is published on a power switch's topic is a word.
const MAX_PACKET: usize = 64 * 1024;

/// What a broker sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// Whether it takes us; 0 is yes.
    ConnAck(u8),
    /// The publication of this number has arrived.
    PubAck(u16),
    /// The subscription of this number was granted, or refused with 0x80.
    SubAck(u16, u8),
    /// Somebody published. The number is there when it wants to hear of its arrival.
    Publish {
        payload: Vec<u8>,
        number: Option<u16>,
    },
    /// It is still there.
    Pong,
    /// Something that needs no answer.
    Other(u8),
}

/// How a client introduces itself.
pub(super) struct Connect<'a> {
    pub(super) id: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    /// Seconds after which a silent client is given up.
    pub(super) keep_alive: u16,
}

impl Connect<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = text("MQTT");
        let clean = 2;
        let user = if self.user.is_some() { 0x80 } else { 0 };
        // Section 3.1.2.9: no password without a user.
        let password = self.password.filter(|_| self.user.is_some());
        let with_password = if password.is_some() { 0x40 } else { 0 };
        body.extend([4, clean | user | with_password]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(text(self.id));
        for word in self.user.into_iter().chain(password) {
            body.extend(text(word));
        }
        packet(0x10, body)
    }
}

/// A subscription with QoS 0.
pub(super) fn subscribe(number: u16, topic: &str) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend(text(topic));
    body.push(0);
    packet(0x82, body)
}

/// A publication with QoS 1, not retained.
pub(super) fn publish(number: u16, topic: &str, payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(number.to_be_bytes());
    body.extend_from_slice(payload.as_bytes());
    packet(0x32, body)
}

/// The answer to a publication with QoS 1.
pub(super) fn pub_ack(number: u16) -> Vec<u8> {
    packet(0x40, number.to_be_bytes().to_vec())
}

/// The question whether the broker is still there.
pub(super) fn ping() -> Vec<u8> {
    packet(0xc0, Vec::new())
}

/// Good-bye.
pub(super) fn disconnect() -> Vec<u8> {
    packet(0xe0, Vec::new())
}

fn text(text: &str) -> Vec<u8> {
    // Lengths were checked: topics and names of a configuration are short.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    out
}

/// Section 2.2.3: seven bits of the length in each byte, the lowest first.
fn packet(head: u8, body: Vec<u8>) -> Vec<u8> {
    let mut out = vec![head];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            out.push(low);
            break;
        }
        out.push(low | 0x80);
    }
    out.extend(body);
    out
}

/// Reads the next packet. Not cancel-safe: a packet that was begun is lost.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Packet> {
    let head = from.read_u8().await?;
    let mut length = 0;
    for place in 0..4 {
        let byte = from.read_u8().await?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
        if place == 3 {
            return Err(bad("a length of more than four bytes"));
        }
    }
    if length > MAX_PACKET {
        return Err(bad("a packet that is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    decode(head, &body).ok_or_else(|| bad("a packet that ends too early"))
}

fn bad(what: &str) -> std::io::Error {
    let text = format!("the broker sent {what}; is it an MQTT 3.1.1 broker?");
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

fn decode(head: u8, body: &[u8]) -> Option<Packet> {
    let number = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    Some(match head >> 4 {
        2 => Packet::ConnAck(*body.get(1)?),
        3 => {
            let end = 2 + usize::from(number(0)?);
            let quality = head >> 1 & 3;
            let (number, start) = match quality {
                0 => (None, end),
                _ => (Some(number(end)?), end + 2),
            };
            let payload = body.get(start..)?.to_vec();
            Packet::Publish { payload, number }
        }
        4 => Packet::PubAck(number(0)?),
        9 => Packet::SubAck(number(0)?, *body.get(2)?),
        13 => Packet::Pong,
        other => Packet::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_byte_by_byte() {
        let connect = Connect {
            id: "rigd",
            user: Some("u"),
            password: Some("pw"),
            keep_alive: 30,
        };
        let wanted = b"\x10\x17\0\x04MQTT\x04\xc2\0\x1e\0\x04rigd\0\x01u\0\x02pw";
        assert_eq!(connect.encode(), wanted);
        let connect = Connect {
            id: "",
            user: None,
            password: Some("pw"),
            keep_alive: 30,
        };
        assert_eq!(connect.encode(), b"\x10\x0c\0\x04MQTT\x04\x02\0\x1e\0\0");
        assert_eq!(subscribe(1, "s"), b"\x82\x06\0\x01\0\x01s\0");
        assert_eq!(publish(2, "cmnd", "ON"), b"\x32\x0a\0\x04cmnd\0\x02ON");
        assert_eq!(pub_ack(258), b"\x40\x02\x01\x02");
        assert_eq!((ping(), disconnect()), (vec![0xc0, 0], vec![0xe0, 0]));
        // Section 2.2.3, table 2.4: 128 takes two bytes.
        assert_eq!(packet(0x30, vec![0; 128])[..3], [0x30, 0x80, 1]);
    }

    #[tokio::test]
    async fn what_a_broker_sends() {
        let sent = b"\x20\x02\0\x05\x90\x03\0\x01\x80\x40\x02\0\x02\xd0\0\x31\x05\0\x01sON\x32\x07\0\x01s\0\x09ON";
        let mut from = &sent[..];
        let publish = |number| Packet::Publish {
            payload: b"ON".into(),
            number,
        };
        let wanted = [
            Packet::ConnAck(5),
            Packet::SubAck(1, 0x80),
            Packet::PubAck(2),
            Packet::Pong,
            publish(None),
            publish(Some(9)),
        ];
        for wanted in wanted {
            assert_eq!(read(&mut from).await.unwrap(), wanted);
        }
        for wrong in [
            &b"\x30\xff\xff\xff\xff\x01"[..],
            b"\x30\xff\xff\x7f",
            b"\x30\x02\0\x09",
            b"\x20\x01\0",
            b"\x40",
        ] {
            read(&mut &wrong[..]).await.unwrap_err();
        }
    }
}

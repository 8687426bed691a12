//! Asks a device over UDP: sends again while no answer comes, and passes over what is none.

use std::{net::SocketAddr, time::Duration};

use rand::Rng as _;
use rigd_driver::DriverError;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::Secret;

use super::{
    ber,
    pdu::{self, Answer, Ask, REPORT},
    usm::{self, Engine, Keys, Received, User},
};

/// Between two copies of a request. A request and its copy have one id, so a device that answers
/// both is understood; a SET of the same value twice does what one does.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Who asks.
#[derive(Debug)]
pub(super) enum Credentials {
    /// v1 (0) or v2c (1), and the community.
    Community(i64, Secret),
    User(User),
}

/// Asks once and gives the integer of the answer. Cancel-safe.
pub(super) async fn ask(
    peer: SocketAddr,
    credentials: &Credentials,
    ask: &Ask,
    limit: Duration,
) -> Result<Option<i64>, DriverError> {
    let line = Line::open(peer, Instant::now() + limit, limit).await?;
    let answer = match credentials {
        Credentials::Community(version, community) => {
            let id = random();
            let message = pdu::community_message(*version, community.show(), ask.encode(id));
            let find = |bytes: &[u8]| {
                pdu::community_answer(*version, bytes).filter(|answer| answer.id == id)
            };
            line.exchange(&message, find).await?
        }
        Credentials::User(user) => ask_v3(&line, user, ask).await?,
    };
    answer
        .outcome(ask)
        .map_err(|why| failed(&format!("{why} ({peer})")))
}

async fn ask_v3(line: &Line, user: &User, ask: &Ask) -> Result<Answer, DriverError> {
    let mut engine = discover(line).await?;
    let keys = user.keys(&engine.id);
    // The second time with the engine's clock, if it says that ours is wrong.
    for last in [false, true] {
        let (id, request) = (random(), random());
        let message = usm::message(id, &engine, &user.name, Some(&keys), &ask.encode(request));
        let received = line
            .exchange(&message, |bytes| answer(bytes, id, &engine, &keys))
            .await?;
        if received.answer.tag != REPORT {
            let wanted = user.auth.is_some();
            if received.authenticated != wanted || received.answer.id != request {
                let text = "the answer is not protected as the request was";
                return Err(failed(&format!("{text} ({})", line.peer)));
            }
            return Ok(received.answer);
        }
        let (clock, text) = report(&received.answer);
        if !clock || last {
            return Err(failed(&format!("{text} ({})", line.peer)));
        }
        engine = received.engine;
    }
    Err(failed("no answer"))
}

fn answer(bytes: &[u8], id: i64, engine: &Engine, keys: &Keys) -> Option<Received> {
    let received = usm::receive(bytes, Some(keys))?;
    (received.id == id && received.engine.id == engine.id).then_some(received)
}

/// RFC 3414, section 4: an engine that is asked with an empty id answers with its own.
async fn discover(line: &Line) -> Result<Engine, DriverError> {
    let id = random();
    let none = Engine::default();
    let message = usm::message(id, &none, "", None, &Ask::discovery(random()));
    let find = |bytes: &[u8]| {
        let received = usm::receive(bytes, None)?;
        (received.id == id && received.answer.tag == REPORT && !received.engine.id.is_empty())
            .then_some(received.engine)
    };
    line.exchange(&message, find).await
}

/// What a report says, and whether it is about the clock: the counters of RFC 3414, section 5.
fn report(answer: &Answer) -> (bool, String) {
    let reasons = [
        (
            1,
            "unsupportedSecLevel: the device wants authentication or privacy otherwise than configured for this user",
        ),
        (
            2,
            "notInTimeWindow: the device's clock does not fit its own answers",
        ),
        (3, "unknownUserName: the device knows no such `user`"),
        (4, "unknownEngineID: the device does not know its own id"),
        (5, "wrongDigest: `auth_protocol` or `auth_key` is wrong"),
        (6, "decryptionError: `priv_protocol` or `priv_key` is wrong"),
    ];
    let found = reasons
        .iter()
        .find(|(number, _)| answer.oid == ber::oid(&[1, 3, 6, 1, 6, 3, 15, 1, 1, *number, 0]));
    match found {
        Some((number, text)) => (*number == 2, (*text).to_owned()),
        None => (
            false,
            "the device refuses without a reason that is known".into(),
        ),
    }
}

/// The words of upstream's driver.
fn failed(why: &str) -> DriverError {
    DriverError::Unknown(format!("SNMP set failed: {why}"))
}

fn random() -> i64 {
    // RFC 3412: 31 bits.
    i64::from(rand::rng().next_u32() >> 1)
}

/// A socket to one device, until a moment.
struct Line {
    socket: UdpSocket,
    peer: SocketAddr,
    end: Instant,
    limit: Duration,
}

impl Line {
    async fn open(peer: SocketAddr, end: Instant, limit: Duration) -> Result<Self, DriverError> {
        let any = if peer.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let failed = |error| DriverError::io(format!("SNMP: cannot ask {peer}"), &error);
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        // From now on the kernel passes on what comes from there alone.
        socket.connect(peer).await.map_err(failed)?;
        Ok(Self {
            socket,
            peer,
            end,
            limit,
        })
    }

    /// Sends until something comes that `find` takes for the answer.
    async fn exchange<T>(
        &self,
        message: &[u8],
        find: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, DriverError> {
        let mut bytes = vec![0; MAX_DATAGRAM];
        let (mut refused, mut odd) = (false, 0_u32);
        while Instant::now() < self.end {
            refused |= self.socket.send(message).await.is_err();
            let again = self.end.min(Instant::now() + AGAIN);
            while let Ok(received) = timeout_at(again, self.socket.recv(&mut bytes)).await {
                match received {
                    Ok(length) => match find(&bytes[..length]) {
                        Some(found) => return Ok(found),
                        None => odd += 1,
                    },
                    // ICMP: nobody listens there. It may in a moment, so the rest of this second is
                    // waited for.
                    Err(_) => {
                        refused = true;
                        tokio::time::sleep_until(again).await;
                    }
                }
            }
        }
        let peer = self.peer;
        let mut text = format!(
            "SNMP set failed: SNMP operation timed out: no answer from {peer} within {} s",
            self.limit.as_secs_f64()
        );
        if refused {
            text += "; nothing listens on that port: is SNMP turned on there?";
        } else if odd > 0 {
            text = format!(
                "{text}; {odd} datagrams came that are no answer, or whose authentication fails"
            );
        } else {
            text += "; an agent is also silent when the version, the community or the user's access is wrong";
        }
        Err(DriverError::Timeout(text))
    }
}

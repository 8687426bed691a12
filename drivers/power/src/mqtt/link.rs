//! The connection of one outlet to its broker, for as long as the instance lives.
//!
//! ```text
//!   connecting ──CONNACK, SUBACK──> up ──lost──> down ──back-off──> connecting …
//! ```
//!
//! A broker that comes back finds the subscription made anew. While it is down calls fail at once,
//! with the reason; the instance stays ready, since a new opening would do what a lease start does.

use std::{io, time::Duration};

use rand::Rng as _;
use rigd_driver::DriverError;
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{mpsc, oneshot, watch},
    time::{Instant, interval_at, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    packet::{self, Connect, Packet},
    transport::{Connection, Place},
};
use crate::Secret;

/// Time for a connection with its handshakes.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// A silent broker is asked whether it is there this often, and given up when it is silent for twice
/// as long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time to take what we write: a packet of some bytes.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// First pause before the next attempt, and the longest; each is twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// Orders that wait to be written. Calls take turns, so there is one, and one of a call that is over.
const ORDERS: usize = 4;

/// Who we are and what we listen to.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) place: Place,
    pub(crate) id: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// The topic that tells the state.
    pub(crate) topic: String,
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    Down(String),
}

/// What was said on the state's topic; the number grows with each message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) count: u64,
    /// The last one of this connection.
    pub(crate) payload: Option<Vec<u8>>,
}

/// Something to publish, and who wants to know of its arrival.
pub(crate) struct Order {
    pub(crate) topic: String,
    pub(crate) payload: &'static str,
    pub(crate) arrived: oneshot::Sender<()>,
}

/// The near end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) heard: watch::Receiver<Heard>,
    orders: mpsc::Sender<Order>,
}

/// The far end, to be run as a task.
pub(crate) struct Runner {
    account: Account,
    first: Option<Session>,
    health: watch::Sender<Health>,
    heard: watch::Sender<Heard>,
    orders: mpsc::Receiver<Order>,
}

/// An open connection with its subscription.
struct Session {
    reader: ReadHalf<Connection>,
    writer: Writer,
    /// What came before the subscription was granted.
    early: Vec<Packet>,
}

struct Writer(WriteHalf<Connection>);

impl Writer {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let work = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        let done = timeout(WRITE_LIMIT, work).await;
        let stuck = || io::Error::new(io::ErrorKind::TimedOut, "it takes no more bytes");
        done.unwrap_or_else(|_| Err(stuck()))
    }
}

impl Link {
    /// Connects. Fails when there is no broker, or it refuses.
    pub(crate) async fn open(account: Account) -> Result<(Self, Runner), String> {
        let session = Session::open(&account).await?;
        let (health, heard) = (
            watch::Sender::new(Health::Up),
            watch::Sender::new(Heard::default()),
        );
        let (sender, orders) = mpsc::channel(ORDERS);
        let link = Self {
            health: health.subscribe(),
            heard: heard.subscribe(),
            orders: sender,
        };
        let first = Some(session);
        Ok((
            link,
            Runner {
                account,
                first,
                health,
                heard,
                orders,
            },
        ))
    }

    /// Whether the broker can be reached now.
    pub(crate) fn up(&self) -> Result<(), DriverError> {
        match &*self.health.borrow() {
            Health::Up => Ok(()),
            Health::Down(why) => Err(DriverError::Unavailable(why.clone())),
        }
    }

    /// Publishes, and waits until the broker has it. Cancel-safe, though the message may go out.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        payload: &'static str,
    ) -> Result<(), DriverError> {
        self.up()?;
        let (arrived, arrival) = oneshot::channel();
        let topic = topic.to_owned();
        let order = Order {
            topic,
            payload,
            arrived,
        };
        let lost = || DriverError::Unavailable("the connection to the broker was lost".into());
        self.orders.send(order).await.map_err(|_| lost())?;
        // The sender is dropped when the connection breaks.
        arrival
            .await
            .map_err(|_| self.up().err().unwrap_or_else(lost))
    }
}

impl Session {
    async fn open(account: &Account) -> Result<Self, String> {
        let shown = account.place.shown();
        let opened = timeout(CONNECT_LIMIT, Self::try_open(account)).await;
        let opened = opened
            .unwrap_or_else(|_| Err(format!("no answer within {} s", CONNECT_LIMIT.as_secs())));
        opened.map_err(|why| format!("MQTT broker {shown}: {why}"))
    }

    async fn try_open(account: &Account) -> Result<Self, String> {
        let connection = account.place.connect().await;
        let connection = connection.map_err(|e| {
            format!("cannot connect: {e}; is it running, and are `host`, `port`, `tls` and `transport` right?")
        })?;
        let (reader, writer) = split(connection);
        let mut session = Self {
            reader,
            writer: Writer(writer),
            early: Vec::new(),
        };
        let connect = Connect {
            id: &account.id,
            user: account.user.as_deref(),
            password: account.password.as_ref().map(Secret::show),
            keep_alive: 2 * u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
        };
        let text = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "it closed the connection; is it an MQTT broker, with or without TLS as configured?"
                    .into()
            }
            _ => error.to_string(),
        };
        session
            .writer
            .write(&connect.encode())
            .await
            .map_err(text)?;
        match packet::read(&mut session.reader).await.map_err(text)? {
            Packet::ConnAck(0) => {}
            Packet::ConnAck(code) => return Err(refusal(code).into()),
            other => return Err(format!("it began with {other:?} instead of CONNACK")),
        }
        session
            .writer
            .write(&packet::subscribe(1, &account.topic))
            .await
            .map_err(text)?;
        loop {
            match packet::read(&mut session.reader).await.map_err(text)? {
                Packet::SubAck(1, 0x80) => {
                    return Err(format!("it refuses the subscription to {}", account.topic));
                }
                Packet::SubAck(1, _) => return Ok(session),
                // A retained message may come before.
                other => session.early.push(other),
            }
        }
    }
}

/// Section 3.2.2.3.
fn refusal(code: u8) -> &'static str {
    match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it refuses the client id; is `client_id` right?",
        3 => "it is not available now",
        4 => "it refuses; are `username` and `password` right?",
        5 => "it does not let this client in; are `username` and `password` right?",
        _ => "it refuses the connection",
    }
}

impl Runner {
    /// Until the instance closes.
    pub(crate) async fn run(mut self) {
        let shown = self.account.place.shown();
        let mut next = self.first.take();
        let mut pause = PAUSES[0];
        loop {
            let session = match next.take() {
                Some(session) => Ok(session),
                None => Session::open(&self.account).await,
            };
            let why = match session {
                Ok(session) => {
                    pause = PAUSES[0];
                    if self.health.send_replace(Health::Up) != Health::Up {
                        info!("MQTT broker {shown}: connected again");
                    }
                    let error = self.serve(session).await;
                    format!("MQTT broker {shown}: the connection was lost: {error}")
                }
                Err(why) => why,
            };
            if *self.health.borrow() == Health::Up {
                warn!("{why}; trying to connect again");
            }
            self.heard.send_modify(|heard| heard.payload = None);
            self.health.send_replace(Health::Down(why));
            // Dropped, they fail: an order must not act when it is forgotten.
            while self.orders.try_recv().is_ok() {}
            let jitter = Duration::from_millis(rand::rng().next_u64() % 250);
            sleep(pause + jitter).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// One connection, until it breaks.
    async fn serve(&mut self, session: Session) -> io::Error {
        let Session {
            mut reader,
            mut writer,
            early,
        } = session;
        let Self { heard, orders, .. } = self;
        let mut waiting = None;
        for packet in early {
            if let Err(error) = take(heard, &mut writer, packet, &mut waiting).await {
                return error;
            }
        }
        // Reading goes on beside the rest: a packet that was begun must be read to its end.
        let (sender, mut packets) = mpsc::channel(ORDERS);
        let reading = async move {
            loop {
                let packet = packet::read(&mut reader).await;
                let last = packet.is_err();
                if sender.send(packet).await.is_err() || last {
                    break;
                }
            }
            // Whoever works is told, and ends.
            std::future::pending::<io::Error>().await
        };
        let working = async {
            // 1 is the subscription's, and 0 is none.
            let mut number = 1_u16;
            let mut ticks = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
            let mut heard_at = Instant::now();
            loop {
                // cancel-safe: all three only wait.
                let done = tokio::select! {
                    packet = packets.recv() => match packet {
                        Some(Ok(packet)) => {
                            heard_at = Instant::now();
                            take(heard, &mut writer, packet, &mut waiting).await
                        }
                        Some(Err(error)) => Err(error),
                        None => Err(io::ErrorKind::UnexpectedEof.into()),
                    },
                    order = orders.recv() => match order {
                        // Its call is over; what it wanted must not happen later.
                        Some(order) if order.arrived.is_closed() => Ok(()),
                        Some(order) => {
                            number = number.checked_add(1).unwrap_or(2);
                            waiting = Some((number, order.arrived));
                            let bytes = packet::publish(number, &order.topic, order.payload);
                            writer.write(&bytes).await
                        }
                        None => {
                            // It is as good as gone already.
                            writer.write(&packet::disconnect()).await.ok();
                            Err(io::Error::other("the instance closes"))
                        }
                    },
                    _ = ticks.tick() => match heard_at.elapsed() > 2 * KEEP_ALIVE {
                        true => Err(io::Error::new(io::ErrorKind::TimedOut, "it is silent")),
                        false => writer.write(&packet::ping()).await,
                    },
                };
                if let Err(error) = done {
                    return error;
                }
            }
        };
        // cancel-safe: when the work is over the connection is, too.
        tokio::select! {
            error = working => error,
            error = reading => error,
        }
    }
}

/// What a packet asks for.
async fn take(
    heard: &watch::Sender<Heard>,
    writer: &mut Writer,
    packet: Packet,
    waiting: &mut Option<(u16, oneshot::Sender<()>)>,
) -> io::Result<()> {
    match packet {
        Packet::Publish { payload, number } => {
            heard.send_modify(|heard| {
                heard.count += 1;
                heard.payload = Some(payload);
            });
            match number {
                Some(number) => writer.write(&packet::pub_ack(number)).await,
                None => Ok(()),
            }
        }
        Packet::PubAck(number) => {
            if let Some((_, arrived)) = waiting.take_if(|(wanted, _)| *wanted == number) {
                // Who left does not mind.
                arrived.send(()).ok();
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

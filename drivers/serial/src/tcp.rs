//! `socket://`: raw bytes over TCP, as terminal servers offer them.

use std::{fmt::Display, io, time::Duration};

use rigd_driver::{DriverError, OpenError, async_trait};
use rustix::net::sockopt;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    settings::Settings,
    wire::{Order, Source, Wire},
};

/// How long a terminal server has to accept the connection.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A peer that answers nothing is found to be gone after 30 s of silence and three probes, a minute
/// in all.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// A raw port of a terminal server.
#[derive(Debug)]
pub(crate) struct TcpSource {
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[async_trait]
impl Source for TcpSource {
    /// The settings are the terminal server's own business.
    async fn open(&self, _: &Settings) -> Result<Box<dyn Wire>, OpenError> {
        let stream = connect(&self.url, &self.host, self.port).await?;
        Ok(Box::new(TcpWire {
            url: self.url.clone(),
            stream,
        }))
    }
}

/// Connects to a terminal server; `url` names it in errors.
///
/// # Errors
/// Absent: nobody answers there.
pub(crate) async fn connect(url: &str, host: &str, port: u16) -> Result<TcpStream, OpenError> {
    let absent = |what: &dyn Display| OpenError::Absent(format!("cannot connect to {url}: {what}"));
    let connecting = timeout(CONNECT_LIMIT, TcpStream::connect((host, port)));
    let limit = CONNECT_LIMIT.as_secs();
    let connected = connecting.await;
    let connected = connected.map_err(|_| absent(&format_args!("no answer within {limit} s")))?;
    let stream = connected.map_err(|error| absent(&error))?;
    // Keystrokes are single bytes; waiting to fill a packet only delays them.
    stream.set_nodelay(true).map_err(|error| absent(&error))?;
    let watch = watch_peer(&stream).map_err(io::Error::from);
    watch.map_err(|error| absent(&error))?;
    Ok(stream)
}

/// Lets the kernel notice a peer that lost its power: a console may be silent for days.
fn watch_peer(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)
}

#[derive(Debug)]
struct TcpWire {
    url: String,
    stream: TcpStream,
}

#[async_trait]
impl Wire for TcpWire {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    async fn order(&self, _: Order) -> Result<(), DriverError> {
        let text = format!(
            "{} is a network connection and has no line to set",
            self.url
        );
        Err(DriverError::Unimplemented(text))
    }
}

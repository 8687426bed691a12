//! Small frames: through an echo in memory, and through a pseudo-terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rigd_client::ByteChannel;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use tokio::time::timeout;

use crate::{
    Effort, Failure, median,
    peers::{Peer, Peers},
    table::{Goal, Table, Unit},
};

/// What a shell or a boot loader writes at once, roughly.
const FRAME: usize = 1024;

/// Long enough for Python's 4 MiB/s on a slow machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(peers: &Peers, effort: &Effort, table: &mut Table) {
    for (device, what) in [
        ("echo", "1 KiB frames, echo, Rust client"),
        ("console", "console bytes on an echoing pty, 1 KiB writes"),
    ] {
        let figures = compare(peers, device, effort).await;
        table.add(what, Unit::Rate, Goal::AtLeastTimes(10.0), figures);
    }
}

async fn compare(
    peers: &Peers,
    device: &str,
    effort: &Effort,
) -> Result<(Option<f64>, Option<f64>), Failure> {
    // One stream for all repetitions: a second one on the same port would share its bytes.
    let mut python = match &peers.python {
        Some(side) => Some((open(&side.peer, device).await?, vec![])),
        None => None,
    };
    let (mut channel, mut rigd) = (open(&peers.rigd.peer, device).await?, vec![]);
    for _ in 0..effort.repetitions {
        if let Some((channel, figures)) = &mut python {
            let rate = timeout(DEADLINE, echo(channel, effort.echoed, FRAME)).await;
            figures.push(rate.map_err(|_| format!("Python took over {DEADLINE:?}"))??);
        }
        let rate = timeout(DEADLINE, echo(&mut channel, effort.echoed, FRAME)).await;
        rigd.push(rate.map_err(|_| format!("rigd took over {DEADLINE:?}"))??);
    }
    Ok((
        python.map(|(_, figures)| median(figures)),
        Some(median(rigd)),
    ))
}

async fn open(peer: &Peer, device: &str) -> Result<(ByteChannel, usize), Failure> {
    let mut channel = peer.exporter.device(device).await?.console().open();
    channel.opened().await?;
    Ok((channel, 0))
}

/// Sends frames of that length until so many bytes came back; bytes a second.
pub(crate) async fn echo(
    channel: &mut (ByteChannel, usize),
    bytes: usize,
    frame: usize,
) -> Result<f64, Failure> {
    let (channel, position) = channel;
    let pattern = Pattern::new(frame);
    let began = Instant::now();
    let (sender, receiver) = channel.halves();
    let mut sent = *position;
    let end = *position + bytes;
    let send = async {
        while sent < end {
            sender.send(pattern.at(sent, frame)).await?;
            sent += frame;
        }
        Ok::<(), Failure>(())
    };
    let receive = async {
        while *position < end {
            let bytes = receiver.recv().await?.ok_or("the echo ended")?;
            for piece in bytes.chunks(frame) {
                if *piece != pattern.at(*position, piece.len()) {
                    return Err(format!("a wrong byte after {position}").into());
                }
                *position += piece.len();
            }
        }
        Ok::<(), Failure>(())
    };
    tokio::try_join!(send, receive)?;
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// Bytes that are known by their position; made before, so that the client has little to do.
struct Pattern(Bytes);

impl Pattern {
    /// A lost, doubled or swapped frame does not fit it, since 251 divides no frame.
    const PERIOD: usize = 251;

    fn new(longest: usize) -> Self {
        let byte = |position: usize| (position % Self::PERIOD) as u8;
        Self((0..Self::PERIOD + longest).map(byte).collect())
    }

    fn at(&self, position: usize, length: usize) -> Bytes {
        let begin = position % Self::PERIOD;
        self.0.slice(begin..begin + length)
    }
}

/// A pseudo-terminal whose far end sends back what it gets.
#[derive(Debug)]
pub(crate) struct EchoingTty {
    pub(crate) path: String,
    /// Held open, so that the far end does not see a hang-up between two openings.
    _near: File,
}

impl EchoingTty {
    pub(crate) fn open() -> Result<Self, Failure> {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&far)?;
        unlockpt(&far)?;
        let path = ptsname(&far, Vec::new())?.into_string()?;
        let near = File::options().read(true).write(true).open(&path)?;
        let mut settings = tcgetattr(&near)?;
        settings.make_raw();
        tcsetattr(&near, OptionalActions::Now, &settings)?;
        // It ends with the process, or when the last near end is closed.
        std::thread::spawn(move || send_back(far));
        Ok(Self { path, _near: near })
    }
}

fn send_back(far: OwnedFd) {
    let mut far = File::from(far);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = far.read(&mut buffer) {
        let Some(bytes) = buffer.get(..length) else {
            return;
        };
        if far.write_all(bytes).is_err() {
            return;
        }
    }
}

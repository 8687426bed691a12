//! The connection to a terminal server: one task reads and writes it for all.
//!
//! ```text
//!   negotiating ──both binary, COM-PORT──> in use ──either end──> closed
//!        └── refused, or no answer in time ──────────────────────────^
//!
//!   a job: ask ──answer──> ask ──answer──> … ──> done
//!           └── another value, or none in time ──> what it undoes is sent, failed
//! ```
//!
//! The port's bytes go through a pipe in memory; jobs come by a queue, and one is under way at a
//! time. The task ends when the pipe is closed, and drops what it could not send.

use std::{collections::VecDeque, future::pending, io};

use bytes::{Buf, BytesMut};
use rigd_driver::DriverError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    time::{Duration, Instant, sleep_until},
};
use tracing::debug;

use super::{
    Url,
    com_port::{Answer, Message, Outcome, Request, line_errors},
    options::{Agreement, COM_PORT, Options},
    telnet::{self, Decoder, Event},
};

/// Bytes on their way in one direction: half a second at 1 Mbaud.
pub(super) const BUFFER: usize = 64 * 1024;
/// What is taken at once.
const PIECE: usize = 16 * 1024;
/// How long a right answer may follow a wrong one, which may be a late answer to an earlier request.
const SECOND_ANSWER: Duration = Duration::from_millis(300);

/// One thing of a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Sent, and answered with the same value.
    Ask(Request),
    Pause(Duration),
}

/// What is done at a stretch.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) steps: VecDeque<Step>,
    /// Sent, without waiting for answers, when a step fails.
    pub(super) undo: Vec<Request>,
    /// When it fails, pauses included.
    pub(super) until: Instant,
    pub(super) done: oneshot::Sender<Result<(), DriverError>>,
}

/// What a job waits for.
#[derive(Debug)]
enum Waiting {
    /// What the server said instead is told when nothing better comes.
    Answer(Request, Option<u32>),
    Pause,
}

struct UnderWay {
    job: Job,
    waiting: Waiting,
    until: Instant,
}

pub(super) struct Connection {
    from_peer: OwnedReadHalf,
    to_peer: OwnedWriteHalf,
    from_port: ReadHalf<DuplexStream>,
    to_port: WriteHalf<DuplexStream>,
    /// For the peer, escaped.
    out: BytesMut,
    /// For the port.
    inbound: BytesMut,
    decoder: Decoder,
    options: Options,
    /// Hears what becomes of the negotiation; taken when it is over.
    agreed: Option<oneshot::Sender<Result<(), &'static str>>>,
    under_way: Option<UnderWay>,
    suspended: bool,
    answer_limit: Duration,
    ignore_control: bool,
    peer: String,
}

/// What comes next.
enum Next {
    Received(io::Result<usize>),
    Sent(io::Result<usize>),
    Delivered(io::Result<usize>),
    Typed(io::Result<usize>),
    Job(Option<Job>),
    Time,
    GivenUp,
}

impl Connection {
    /// Begins the negotiation, of which `agreed` hears.
    pub(super) fn new(
        tcp: TcpStream,
        port: DuplexStream,
        url: &Url,
        agreed: oneshot::Sender<Result<(), &'static str>>,
    ) -> Self {
        let (from_peer, to_peer) = tcp.into_split();
        let (from_port, to_port) = tokio::io::split(port);
        let (mut options, mut out) = (Options::default(), BytesMut::new());
        for (verb, option) in options.ask() {
            telnet::negotiation(verb, option, &mut out);
        }
        Self {
            from_peer,
            to_peer,
            from_port,
            to_port,
            out,
            inbound: BytesMut::new(),
            decoder: Decoder::new(),
            options,
            agreed: Some(agreed),
            under_way: None,
            suspended: false,
            answer_limit: url.answer_limit,
            ignore_control: url.ignore_control,
            peer: url.to_string(),
        }
    }

    /// Until either end is closed.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let (mut received, mut typed) = (vec![0; PIECE], vec![0; PIECE]);
        loop {
            match self.next(&mut jobs, &mut received, &mut typed).await {
                Next::Received(Ok(length @ 1..)) => {
                    let bytes = received.get(..length).unwrap_or_default();
                    if !self.receive(bytes) {
                        break;
                    }
                }
                Next::Sent(Ok(length @ 1..)) => self.out.advance(length),
                Next::Delivered(Ok(length @ 1..)) => self.inbound.advance(length),
                Next::Typed(Ok(length @ 1..)) => {
                    let bytes = typed.get(..length).unwrap_or_default();
                    telnet::escape(bytes, &mut self.out);
                }
                Next::Job(Some(job)) => self.advance(job),
                Next::Time => self.time(),
                Next::Received(ended) | Next::Sent(ended) => {
                    debug!(peer = self.peer, ?ended, "The terminal server left.");
                    break;
                }
                Next::Delivered(_) | Next::Typed(_) | Next::Job(None) | Next::GivenUp => return,
            }
        }
        // The port sees the end after the last bytes. One that is dropped meanwhile takes no more.
        self.to_port.write_all_buf(&mut self.inbound).await.ok();
    }

    async fn next(
        &mut self,
        jobs: &mut mpsc::Receiver<Job>,
        received: &mut [u8],
        typed: &mut [u8],
    ) -> Next {
        let until = self.under_way.as_ref().map(|under_way| under_way.until);
        let time = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let negotiated = self.agreed.is_none();
        // Neither the port nor the peer, which our answers go to, is behind.
        let room = self.inbound.len() < BUFFER && self.out.len() < BUFFER;
        let data = negotiated && !self.suspended && self.out.len() < BUFFER;
        let idle = negotiated && self.under_way.is_none();
        // cancel-safe: reads and writes that are dropped have moved nothing, a receive has taken nothing.
        tokio::select! {
            got = self.from_peer.read(received), if room => Next::Received(got),
            sent = self.to_peer.write(&self.out), if !self.out.is_empty() => Next::Sent(sent),
            done = self.to_port.write(&self.inbound), if !self.inbound.is_empty() => Next::Delivered(done),
            got = self.from_port.read(typed), if data => Next::Typed(got),
            job = jobs.recv(), if idle => Next::Job(job),
            () = time => Next::Time,
            () = given_up(&mut self.agreed), if !negotiated => Next::GivenUp,
        }
    }

    /// Whether the connection is of use any more.
    fn receive(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(event) = self.decoder.next(&mut bytes, &mut self.inbound) {
            match event {
                Event::Negotiation(verb, option) => {
                    if let Some((verb, option)) = self.options.hear(verb, option) {
                        telnet::negotiation(verb, option, &mut self.out);
                    }
                    self.decoder.binary = self.options.they_are_binary();
                }
                Event::Subnegotiation(COM_PORT, payload) => self.hear(&payload),
                Event::Subnegotiation(..) => {}
            }
        }
        let outcome = match self.options.agreement() {
            Agreement::Open => return true,
            Agreement::Reached => Ok(()),
            Agreement::Refused(what) => Err(what),
        };
        if let Some(agreed) = self.agreed.take() {
            agreed.send(outcome).ok();
        }
        outcome.is_ok()
    }

    fn hear(&mut self, payload: &[u8]) {
        let peer = &self.peer;
        match Message::parse(payload) {
            Some(Message::Answer(answer)) => self.answered(answer),
            Some(Message::Suspend) => self.suspended = true,
            Some(Message::Resume) => self.suspended = false,
            Some(Message::Line(state)) => {
                let errors = line_errors(state);
                if !errors.is_empty() {
                    debug!(peer, "The line had: {}.", errors.join(", "));
                }
            }
            Some(Message::Modem(state)) => {
                debug!(peer, "The input lines changed: {state:#010b}.");
            }
            None => {}
        }
    }

    /// Goes on with a job until it waits for something, or is done.
    fn advance(&mut self, mut job: Job) {
        let now = Instant::now();
        while let Some(step) = job.steps.pop_front() {
            let (waiting, until) = match step {
                Step::Pause(length) => (Waiting::Pause, now + length),
                Step::Ask(request) => {
                    telnet::subnegotiation(COM_PORT, &request.payload(), &mut self.out);
                    if self.ignore_control && request.is_control() {
                        continue;
                    }
                    (Waiting::Answer(request, None), now + self.answer_limit)
                }
            };
            let until = until.min(job.until);
            self.under_way = Some(UnderWay {
                job,
                waiting,
                until,
            });
            return;
        }
        // Whoever asked may be gone.
        job.done.send(Ok(())).ok();
    }

    fn answered(&mut self, answer: Answer) {
        let Some(under_way) = &mut self.under_way else {
            return;
        };
        let Waiting::Answer(request, instead) = &mut under_way.waiting else {
            return;
        };
        match request.answered(answer) {
            Some(Outcome::Done) => {
                if let Some(under_way) = self.under_way.take() {
                    self.advance(under_way.job);
                }
            }
            Some(Outcome::Instead(value)) => {
                *instead = Some(value);
                under_way.until = under_way.until.min(Instant::now() + SECOND_ANSWER);
            }
            None => {}
        }
    }

    /// What was waited for did not come, or a pause is over.
    fn time(&mut self) {
        let Some(UnderWay { job, waiting, .. }) = self.under_way.take() else {
            return;
        };
        let peer = &self.peer;
        let error = match waiting {
            Waiting::Pause => return self.advance(job),
            Waiting::Answer(request, Some(value)) => DriverError::Device(format!(
                "{peer} was asked for {request} and says {value} instead"
            )),
            Waiting::Answer(request, None) => {
                DriverError::Timeout(format!("{peer} does not answer to {request}"))
            }
        };
        for request in &job.undo {
            telnet::subnegotiation(COM_PORT, &request.payload(), &mut self.out);
        }
        job.done.send(Err(error)).ok();
    }
}

/// Nobody waits for the negotiation any more. Until it is over nothing is read from the port, which
/// would tell.
async fn given_up(agreed: &mut Option<oneshot::Sender<Result<(), &'static str>>>) {
    match agreed {
        Some(agreed) => agreed.closed().await,
        None => pending().await,
    }
}

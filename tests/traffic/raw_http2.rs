//! An HTTP/2 client that does what no library lets one do: a frame for each byte, and no more
//! manners than flow control.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use fluke_hpack::Decoder;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// RFC 9113 section 6.9.2.
const DEFAULT_WINDOW: i64 = 65_535;
/// Frames go out in pieces of about this size.
const BUFFERED: usize = 64 * 1024;

/// What the server said about one stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answer {
    /// Headers and trailers.
    pub(crate) headers: HashMap<String, String>,
    /// Bytes of DATA frames.
    pub(crate) data: Vec<u8>,
    /// The server is done with it.
    pub(crate) ended: bool,
}

impl Answer {
    /// The gRPC code, once the call is over.
    pub(crate) fn code(&self) -> Option<&str> {
        self.headers.get("grpc-status").map(String::as_str)
    }

    /// The text beside the code. Of the percent-encoded characters only blanks are of interest.
    pub(crate) fn message(&self) -> String {
        let text = self.headers.get("grpc-message");
        text.map_or_else(String::new, |text| text.replace("%20", " "))
    }
}

/// A connection.
pub(crate) struct RawHttp2 {
    io: UnixStream,
    out: Vec<u8>,
    input: Vec<u8>,
    decoder: Decoder<'static>,
    next_stream: u32,
    initial_window: i64,
    connection_window: i64,
    windows: HashMap<u32, i64>,
    answers: HashMap<u32, Answer>,
    /// Why the server ended the connection.
    pub(crate) goaway: Option<String>,
}

impl RawHttp2 {
    pub(crate) fn connect(socket: &Path) -> Self {
        let io = UnixStream::connect(socket).unwrap();
        io.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut this = Self {
            io,
            out: PREFACE.to_vec(),
            input: Vec::new(),
            decoder: Decoder::new(),
            next_stream: 1,
            initial_window: DEFAULT_WINDOW,
            connection_window: DEFAULT_WINDOW,
            windows: HashMap::new(),
            answers: HashMap::new(),
            goaway: None,
        };
        // The largest windows there are, RFC 9113 section 6.9.1: this client takes everything.
        let [high, low] = INITIAL_WINDOW_SIZE.to_be_bytes();
        this.frame(SETTINGS, 0, 0, &[high, low, 0x7f, 0xff, 0xff, 0xff]);
        this.frame(
            WINDOW_UPDATE,
            0,
            0,
            &(0x7fff_ffff - DEFAULT_WINDOW as u32).to_be_bytes(),
        );
        // Until the server's settings and its larger connection window are known.
        this.until("the server's settings", |this| {
            this.connection_window > DEFAULT_WINDOW && this.initial_window != DEFAULT_WINDOW
        });
        this
    }

    /// Opens a call.
    pub(crate) fn open(&mut self, path: &str, metadata: &[(&str, &str)]) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut block = Vec::new();
        let fixed = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        for (name, value) in fixed.iter().chain(metadata) {
            // Literal without indexing, new name, RFC 7541 section 6.2.2.
            block.push(0);
            string(&mut block, name);
            string(&mut block, value);
        }
        self.windows.insert(stream, self.initial_window);
        self.answers.insert(stream, Answer::default());
        self.frame(HEADERS, END_HEADERS, stream, &block);
        stream
    }

    /// Sends bytes in one DATA frame if flow control allows it at once.
    pub(crate) fn try_data(&mut self, stream: u32, bytes: &[u8], last: bool) -> bool {
        let size = bytes.len() as i64;
        let window = self.windows.get_mut(&stream).unwrap();
        if *window < size || self.connection_window < size {
            return false;
        }
        *window -= size;
        self.connection_window -= size;
        self.frame(DATA, if last { END_STREAM } else { 0 }, stream, bytes);
        true
    }

    /// Sends one gRPC message after another, each in a frame of its own, until the server takes
    /// none for `quiet`, ends the call, or has `most`. Returns how many it took.
    pub(crate) fn flood(
        &mut self,
        stream: u32,
        message: &[u8],
        most: usize,
        quiet: Duration,
    ) -> usize {
        let mut sent = 0;
        while sent < most {
            if self.try_data(stream, message, false) {
                sent += 1;
                continue;
            }
            self.flush();
            let end = Instant::now() + quiet;
            let room = |this: &Self| {
                let size = message.len() as i64;
                this.connection_window >= size
                    && (this.windows[&stream] >= size || this.answers[&stream].ended)
            };
            while !room(self) && Instant::now() < end && self.goaway.is_none() {
                self.read(quiet);
            }
            if !room(self) || self.answers[&stream].ended {
                break;
            }
        }
        self.flush();
        sent
    }

    /// Sends one gRPC message in frames of the usual size.
    pub(crate) fn send(&mut self, stream: u32, message: &[u8]) {
        for piece in grpc(message).chunks(16 * 1024) {
            self.until("room for a message", |this| {
                this.has_room(stream, piece.len() as i64) || this.answers[&stream].ended
            });
            if self.answers[&stream].ended {
                return;
            }
            assert!(self.try_data(stream, piece, false));
        }
        self.flush();
    }

    /// A unary call from start to end.
    pub(crate) fn call(&mut self, path: &str, metadata: &[(&str, &str)], message: &[u8]) -> Answer {
        let stream = self.open(path, metadata);
        assert!(
            self.try_data(stream, &grpc(message), true),
            "no window for a call"
        );
        self.until(path, |this| this.answers[&stream].ended);
        self.answers[&stream].clone()
    }

    /// Whether flow control lets that many bytes pass.
    pub(crate) fn has_room(&self, stream: u32, bytes: i64) -> bool {
        self.connection_window >= bytes && self.windows[&stream] >= bytes
    }

    pub(crate) fn answer(&self, stream: u32) -> &Answer {
        &self.answers[&stream]
    }

    /// Reads until that is so. Fails after 20 s, and when the connection is ended.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        self.flush();
        let end = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(
                self.goaway.is_none(),
                "{what}: the connection ended: {:?}",
                self.goaway
            );
            assert!(Instant::now() < end, "{what}: not within 20 s");
            self.read(Duration::from_millis(200));
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap();
        self.out.extend_from_slice(&len.to_be_bytes()[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        self.out.extend_from_slice(payload);
        if self.out.len() > BUFFERED {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        if let Err(error) = self.io.write_all(&out) {
            self.goaway.get_or_insert_with(|| format!("{error}"));
        }
    }

    /// Reads what is there, and waits for it at most that long.
    fn read(&mut self, limit: Duration) {
        self.io.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 64 * 1024];
        match self.io.read(&mut buffer) {
            Ok(0) => drop(self.goaway.get_or_insert_with(|| "end of file".into())),
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => drop(self.goaway.get_or_insert_with(|| error.to_string())),
        }
        while let Some(frame) = self.take_frame() {
            self.handle(frame);
        }
        self.flush();
    }

    fn take_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.input.get(..9)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let (kind, flags) = (head[3], head[4]);
        let payload = self.input.get(9..9 + len)?.to_vec();
        self.input.drain(..9 + len);
        Some((kind, flags, stream, payload))
    }

    fn handle(&mut self, (kind, flags, stream, payload): (u8, u8, u32, Vec<u8>)) {
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for entry in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
                    if u16::from_be_bytes([entry[0], entry[1]]) == INITIAL_WINDOW_SIZE {
                        self.initial_window = value.into();
                    }
                }
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload),
            WINDOW_UPDATE => {
                let more = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
                match stream {
                    0 => self.connection_window += i64::from(more),
                    stream => *self.windows.entry(stream).or_default() += i64::from(more),
                }
            }
            GOAWAY => {
                let debug = String::from_utf8_lossy(&payload[8..]).into_owned();
                self.goaway = Some(format!("GOAWAY {:?} {debug}", &payload[4..8]));
            }
            HEADERS => {
                let fields = self.decoder.decode(&payload).unwrap();
                let answer = self.answers.entry(stream).or_default();
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                answer.headers.extend(
                    fields
                        .into_iter()
                        .map(|(name, value)| (text(name), text(value))),
                );
                answer.ended |= flags & END_STREAM != 0;
            }
            DATA => {
                let answer = self.answers.entry(stream).or_default();
                answer.data.extend_from_slice(&payload);
                answer.ended |= flags & END_STREAM != 0;
            }
            RST_STREAM => self.answers.entry(stream).or_default().ended = true,
            _ => {}
        }
    }
}

/// A gRPC message with its five bytes of framing.
pub(crate) fn grpc(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap();
    [&[0][..], &len.to_be_bytes(), message].concat()
}

/// A literal of up to 16 383 bytes, not Huffman-coded, RFC 7541 section 5.2.
fn string(block: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..127 => block.push(len as u8),
        len => {
            let rest = len - 127;
            assert!(rest < 1 << 14);
            block.push(127);
            if rest < 128 {
                block.push(rest as u8);
            } else {
                block.extend_from_slice(&[(rest & 127) as u8 | 128, (rest >> 7) as u8]);
            }
        }
    }
    block.extend_from_slice(text.as_bytes());
}

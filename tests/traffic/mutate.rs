//! Mutations of recorded bytes, and the ways in which they are sent.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::Index};

/// One change. Positions are relative, so that one mutation fits every recording.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Flip {
        at: Index,
        bit: u8,
    },
    Overwrite {
        at: Index,
        byte: u8,
    },
    Insert {
        at: Index,
        bytes: Vec<u8>,
    },
    Delete {
        at: Index,
        count: usize,
    },
    Truncate {
        at: Index,
    },
    Duplicate {
        at: Index,
        count: usize,
    },
    Swap {
        first: Index,
        second: Index,
        count: usize,
    },
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Overwrite { at, byte }),
        2 => (at(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        2 => (at(), 1..400usize).prop_map(|(at, count)| Mutation::Delete { at, count }),
        1 => at().prop_map(|at| Mutation::Truncate { at }),
        2 => (at(), 1..4000usize).prop_map(|(at, count)| Mutation::Duplicate { at, count }),
        1 => (at(), at(), 1..1000usize)
            .prop_map(|(first, second, count)| Mutation::Swap { first, second, count }),
    ]
}

impl Mutation {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        let piece = |at: &Index, count: usize| {
            let start = at.index(len);
            start..(start + count).min(len)
        };
        match self {
            Self::Flip { at, bit } => bytes[at.index(len)] ^= 1 << bit,
            Self::Overwrite { at, byte } => bytes[at.index(len)] = *byte,
            Self::Insert { at, bytes: new } => {
                let at = at.index(len);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Delete { at, count } => drop(bytes.drain(piece(at, *count))),
            Self::Truncate { at } => bytes.truncate(at.index(len)),
            Self::Duplicate { at, count } => {
                let piece = piece(at, *count);
                let copy = bytes[piece.clone()].to_vec();
                bytes.splice(piece.end..piece.end, copy);
            }
            Self::Swap {
                first,
                second,
                count,
            } => {
                let (first, second) = (first.index(len), second.index(len));
                let (low, high) = (first.min(second), first.max(second));
                let count = (*count).min(high - low).min(len - high);
                let (head, tail) = bytes.split_at_mut(high);
                head[low..low + count].swap_with_slice(&mut tail[..count]);
            }
        }
    }
}

/// How the bytes go out, and how the connection ends.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Sizes of the pieces, used in turn.
    pub(crate) pieces: Vec<usize>,
    /// Milliseconds after each piece, used in turn.
    pub(crate) pauses: Vec<u64>,
    /// Whether the daemon's answers are read.
    pub(crate) reads: bool,
    /// Whether the client says that it is done and waits, instead of vanishing.
    pub(crate) half_closes: bool,
}

pub(crate) fn delivery() -> impl Strategy<Value = Delivery> {
    let pieces = prop_oneof![
        3 => vec(2000..100_000usize, 1..4),
        1 => vec(1..2000usize, 1..8),
    ];
    let pauses = vec(prop_oneof![9 => Just(0), 1 => 1..4u64], 1..6);
    (pieces, pauses, any::<bool>(), any::<bool>()).prop_map(
        |(pieces, pauses, reads, half_closes)| Delivery {
            pieces,
            pauses,
            reads,
            half_closes,
        },
    )
}

impl Delivery {
    /// Sends `bytes` on a new connection, which is over when this returns. A daemon that hangs up
    /// in between has done right.
    pub(crate) fn send(&self, socket: &Path, bytes: &[u8]) {
        // Long enough to see answers, short enough for thousands of cases.
        let patience = Duration::from_millis(30);
        let mut io = UnixStream::connect(socket).unwrap();
        io.set_write_timeout(Some(patience)).unwrap();
        io.set_read_timeout(Some(patience)).unwrap();
        let reader = self.reads.then(|| {
            let mut io = io.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while io.read(&mut buffer).is_ok_and(|count| count > 0) {}
            })
        });
        let (mut pieces, mut pauses) = (self.pieces.iter().cycle(), self.pauses.iter().cycle());
        let mut rest = bytes;
        while let Some(piece) = pieces.next().filter(|_| !rest.is_empty()) {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            if io.write_all(now).is_err() {
                break;
            }
            rest = later;
            if let Some(pause @ 1..) = pauses.next() {
                std::thread::sleep(Duration::from_millis(*pause));
            }
        }
        if self.half_closes {
            io.shutdown(Shutdown::Write).ok();
        }
        if let Some(reader) = reader {
            reader.join().unwrap();
        }
    }
}

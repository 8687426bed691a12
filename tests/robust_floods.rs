//! Floods of tiny frames, each message in a frame of its own: ordinary back-pressure for one
//! stream, RESOURCE_EXHAUSTED for the second, and the connection lives in either case.
//!
//! h2 charges a connection for every unread frame below 256 bytes and would end it, with all its
//! calls, when a budget is used up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{
    io::Read,
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use prost::Message;
use rigd_proto::v1::{
    DriverCallRequest, FrameType, GetReportResponse, GetStatusResponse, StreamRequest,
};
use traffic::{
    process::Process,
    raw_http2::{RawHttp2, grpc},
    rig::Rig,
};

const STREAM: &str = "/jumpstarter.v1.RouterService/Stream";
const STATUS: &str = "/jumpstarter.v1.ExporterService/GetStatus";
const CALL: &str = "/jumpstarter.v1.ExporterService/DriverCall";
const REPORT: &str = "/jumpstarter.v1.ExporterService/GetReport";
const RESOURCE_EXHAUSTED: &str = "8";
/// How long a stream takes nothing before it counts as held back.
const QUIET: Duration = Duration::from_secs(1);
/// More than the daemon's backlog (262 144 bytes), the stream's window and the socket of the
/// device together hold.
const MOST: usize = 2_000_000;
const MIB: u64 = 1 << 20;

/// A rig whose `deaf` instance leads to a peer that does not read.
struct Deaf {
    rig: Rig,
    listener: UnixListener,
    /// The raw connection.
    client: RawHttp2,
    /// Metadata of a stream to the deaf peer.
    request: String,
    probe: String,
}

impl Deaf {
    fn new() -> Self {
        let rig = Rig::start();
        let listener = UnixListener::bind(rig.settings.path("peer.sock")).unwrap();
        let mut client = RawHttp2::connect(rig.socket());
        let report = client.call(REPORT, &[], &[]);
        let report = GetReportResponse::decode(&report.data[5..]).unwrap();
        let uuid = |name: &str| {
            let named =
                |(key, value): (&String, &String)| key == "jumpstarter.dev/name" && value == name;
            let found = report.reports.iter().find(|it| it.labels.iter().any(named));
            found.unwrap().uuid.clone()
        };
        let request = format!(
            r#"{{"kind": "driver", "uuid": "{}", "method": "connect"}}"#,
            uuid("deaf")
        );
        let probe = uuid("probe");
        Self {
            rig,
            listener,
            client,
            request,
            probe,
        }
    }

    /// Opens a stream to the peer, and gives the peer's end.
    fn stream(&mut self) -> (u32, UnixStream) {
        let stream = self.client.open(STREAM, &[("request", &self.request)]);
        self.client.until("headers of a stream", |client| {
            client.answer(stream).headers.contains_key(":status")
        });
        (stream, self.listener.accept().unwrap().0)
    }

    /// The other calls of the connection go on.
    fn calls_go_on(&mut self) {
        let status = self.client.call(STATUS, &[], &[]);
        assert_eq!(status.code(), Some("0"), "{status:?}");
        GetStatusResponse::decode(&status.data[5..]).unwrap();
        let on = DriverCallRequest {
            uuid: self.probe.clone(),
            method: "on".into(),
            args: vec![],
        };
        let on = self.client.call(CALL, &[], &on.encode_to_vec());
        assert_eq!(on.code(), Some("0"), "{on:?}");
    }
}

fn message(payload: &[u8]) -> Vec<u8> {
    let frame = StreamRequest {
        payload: payload.to_vec().into(),
        frame_type: FrameType::Data.into(),
    };
    grpc(&frame.encode_to_vec())
}

#[test]
fn single_bytes_are_held_back_and_a_second_such_stream_ends_alone() {
    let mut deaf = Deaf::new();
    let process = Process(deaf.rig.daemon.pid());
    deaf.calls_go_on();
    let (first, mut peer) = deaf.stream();
    let before = process.resident();
    process.forget_peak();
    let sent = deaf.client.flood(first, &message(b"x"), MOST, QUIET);
    assert!(
        (262_145..MOST).contains(&sent),
        "{sent} messages were taken"
    );
    deaf.calls_go_on();
    // 65 536 unread frames of the stream's window cost h2 some 100 bytes each.
    let peak = process.peak();
    assert!(
        peak < before + 48 * MIB,
        "{before} bytes before, at most {peak} meanwhile"
    );

    // More than once: what such a stream took of the connection's budget is given back.
    for _ in 0..3 {
        let (second, _peer) = deaf.stream();
        deaf.client.flood(second, &message(b"y"), MOST, QUIET);
        let ended = |client: &RawHttp2| client.answer(second).ended;
        deaf.client.until("the end of the second stream", ended);
        let answer = deaf.client.answer(second).clone();
        assert_eq!(answer.code(), Some(RESOURCE_EXHAUSTED), "{answer:?}");
        let text = answer.message();
        assert!(text.starts_with("too many small frames"), "{text}");
        deaf.calls_go_on();
        let first = deaf.client.answer(first);
        assert!(!first.ended, "{first:?}");
    }

    // Once the peer reads, everything arrives and the stream goes on.
    let reader = std::thread::spawn(move || {
        let mut count = 0;
        let mut buffer = vec![0; 64 * 1024];
        peer.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        loop {
            let n = peer.read(&mut buffer).unwrap();
            assert!(n > 0, "the peer's stream ended after {count} bytes");
            let piece = &buffer[..n];
            count += piece.iter().filter(|b| **b == b'x').count();
            if piece.ends_with(b"!") {
                return count;
            }
        }
    });
    deaf.client.until("room in the stream's window", |client| {
        client.has_room(first, 100)
    });
    assert!(deaf.client.try_data(first, &message(b"!"), false));
    deaf.calls_go_on();
    assert_eq!(reader.join().unwrap(), sent);
    drop(deaf.client);
    deaf.rig.daemon.stop_cleanly();
}

#[test]
fn messages_of_a_hundred_bytes_are_held_back_on_any_number_of_streams() {
    let mut deaf = Deaf::new();
    let mut peers = Vec::new();
    for _ in 0..4 {
        let (stream, peer) = deaf.stream();
        let sent = deaf
            .client
            .flood(stream, &message(&[b'z'; 100]), MOST, QUIET);
        assert!((2_621..MOST).contains(&sent), "{sent} messages were taken");
        peers.push((stream, peer));
        deaf.calls_go_on();
    }
    for (stream, _) in &peers {
        assert!(
            !deaf.client.answer(*stream).ended,
            "{:?}",
            deaf.client.answer(*stream)
        );
    }
    drop(deaf.client);
    deaf.rig.daemon.stop_cleanly();
}

#[test]
fn streams_that_turn_from_large_frames_to_single_bytes_count_as_small() {
    let mut deaf = Deaf::new();
    let (first, mut peer) = deaf.stream();
    let (second, mut peer2) = deaf.stream();
    // A transfer that the peers take, so that the mean of a stream's life says "large".
    for (stream, peer) in [(first, &mut peer), (second, &mut peer2)] {
        let reader = {
            let mut peer = peer.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut all = vec![0; 32 << 20];
                peer.set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                peer.read_exact(&mut all).unwrap();
            })
        };
        let sent = deaf
            .client
            .flood(stream, &message(&[0; 65_536]), 512, Duration::from_secs(10));
        assert_eq!(sent, 512);
        reader.join().unwrap();
    }
    deaf.client.flood(first, &message(b"x"), MOST, QUIET);
    deaf.calls_go_on();
    deaf.client.flood(second, &message(b"y"), MOST, QUIET);
    deaf.calls_go_on();
    assert!(
        !deaf.client.answer(first).ended,
        "{:?}",
        deaf.client.answer(first)
    );
    let answer = deaf.client.answer(second).clone();
    assert_eq!(answer.code(), Some(RESOURCE_EXHAUSTED), "{answer:?}");
    drop(deaf.client);
    deaf.rig.daemon.stop_cleanly();
}

//! Tunnels through a router that is as lazy as the real one.

mod limits;
mod router;
mod served;

use std::{
    hash::{DefaultHasher, Hasher},
    io::ErrorKind,
};

use futures::StreamExt;
use rigd_proto::v1::FrameType;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tonic::Status;

use self::router::{Call, PATIENCE, Plain, Router, until};
use super::*;

const TOKEN: &str = "eyJ.secret.sig";

type Incoming = ReceiverStream<std::io::Result<Tunnel>>;

fn item(router: &Router) -> ListenResponse {
    ListenResponse {
        router_endpoint: router.endpoint.clone(),
        router_token: TOKEN.to_owned(),
    }
}

fn tunnels() -> (Tunnels<Plain>, Incoming) {
    Tunnels::new(Arc::new(Plain), CancellationToken::new())
}

/// Opens one more tunnel: our end, and the router's.
async fn dial(
    tunnels: &Tunnels<Plain>,
    incoming: &mut Incoming,
    router: &mut Router,
) -> (Tunnel, Call) {
    tunnels.dial(item(router));
    let io = timeout(PATIENCE, incoming.next()).await.unwrap();
    (io.unwrap().unwrap(), router.call().await)
}

/// Nothing is left of them: no task, no place, no connection.
async fn assert_gone(tunnels: &Tunnels<Plain>, router: &Router) {
    until("places stay", || tunnels.open() == 0).await;
    until("tasks stay", || tunnels.tasks.is_empty()).await;
    router.left_alone().await;
}

#[tokio::test]
async fn bytes_flow_up_before_the_router_answers() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut io, mut call) = dial(&tunnels, &mut incoming, &mut router).await;
    assert_eq!(tunnels.open(), 1);
    let authorization = call.metadata.get("authorization").unwrap();
    assert_eq!(authorization, &format!("Bearer {TOKEN}"));
    for key in ["request", "jumpstarter-name", "jumpstarter-kind"] {
        assert!(!call.metadata.contains_key(key), "{key}");
    }

    io.write_all(b"first").await.unwrap();
    let data = i32::from(FrameType::Data);
    assert_eq!(call.next().await.unwrap(), (data, "first".into()));
    call.data(b"answer").await;
    let mut read = [0; 3];
    io.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ans");
    io.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"wer");
    drop(io);
    assert!(call.rest().await.is_empty());
    drop(call);
    assert_gone(&tunnels, &router).await;
}

#[tokio::test]
async fn frames_without_meaning_are_skipped_and_goaway_ends_only_the_reading() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
    let sender = call.down.clone();
    let playing = tokio::spawn(async move {
        for _ in 0..100 {
            call.data(b"").await;
        }
        call.send(FrameType::Ping.into(), b"ping").await;
        call.send(FrameType::RstStream.into(), b"reset").await;
        call.send(42, b"what").await;
        call.data(b"bytes").await;
        call.send(FrameType::Ping.into(), b"").await;
        call.send(FrameType::Goaway.into(), b"ignored").await;
        call
    });
    let mut read = Vec::new();
    let all = timeout(PATIENCE, io.read_to_end(&mut read)).await.unwrap();
    all.unwrap();
    assert_eq!(read, b"bytes");
    let mut call = playing.await.unwrap();
    drop(sender);

    io.write_all(b"still").await.unwrap();
    assert_eq!(io.read(&mut [0; 8]).await.unwrap(), 0, "the end stays");
    io.shutdown().await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(
        io.write(b"x").await.unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(call.rest().await, b"still");
    drop((io, call));
    assert_gone(&tunnels, &router).await;
}

#[tokio::test]
async fn a_call_that_ends_well_is_an_end_and_one_that_fails_an_error() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    for frames in 0..2 {
        let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
        let mut read = Vec::new();
        for _ in 0..frames {
            call.data(b"x").await;
        }
        drop(call);
        io.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), frames);

        let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
        for _ in 0..frames {
            call.data(b"x").await;
        }
        let text = format!("invalid\njwt token {TOKEN} {}", "x".repeat(9999));
        let status = Status::unauthenticated(&text[..5000]);
        call.down.send(Err(status)).await.unwrap();
        let error = io.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let text = error.to_string();
        assert!(text.contains("Unauthenticated"), "{text}");
        assert!(text.contains("invalid\\njwt token ***"), "{text}");
        assert!(!text.contains(TOKEN) && text.len() < 400, "{text}");
        let again = io.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::ConnectionReset, "and stays failed");
        let write = async { while io.write_all(b"x").await.is_ok() {} };
        timeout(PATIENCE, write).await.unwrap();
    }
    assert_gone(&tunnels, &router).await;
}

#[tokio::test]
async fn a_router_that_goes_away_is_an_error() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
    call.data(b"x").await;
    io.read_u8().await.unwrap();
    drop(router);
    let error = timeout(PATIENCE, io.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    drop((io, call));
    until("places stay", || tunnels.open() == 0).await;
}

#[tokio::test]
async fn an_image_arrives_whole_in_both_directions() {
    const SIZE: usize = 64 * 1024 * 1024;
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (io, call) = dial(&tunnels, &mut incoming, &mut router).await;
    let echo = tokio::spawn(call.echo());
    let (mut reader, mut writer) = split(io);
    let writing = tokio::spawn(async move {
        let mut hash = DefaultHasher::new();
        let (mut sent, mut seed) = (0, 1_u64);
        while sent < SIZE {
            // Pieces of uneven length, some longer than a frame.
            let len = (sent % 99_991 + 1).min(SIZE - sent);
            let piece: Vec<u8> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.to_le_bytes()[7]
            })
            .take(len)
            .collect();
            hash.write(&piece);
            if sent % 2 == 0 {
                writer.write_all(&piece).await.unwrap();
            } else {
                let (a, b) = piece.split_at(len / 3);
                let bufs = [std::io::IoSlice::new(a), std::io::IoSlice::new(b)];
                let written = writer.write_vectored(&bufs).await.unwrap();
                assert_eq!(written, len.min(64 * 1024));
                writer.write_all(&piece[written..]).await.unwrap();
            }
            sent += len;
        }
        writer.shutdown().await.unwrap();
        (sent, hash.finish())
    });
    let mut hash = DefaultHasher::new();
    let (mut read, mut buf) = (0, vec![0; 100_000]);
    loop {
        let got = timeout(PATIENCE, reader.read(&mut buf)).await.unwrap();
        let got = got.unwrap();
        if got == 0 {
            break;
        }
        hash.write(&buf[..got]);
        read += got;
    }
    assert_eq!((read, hash.finish()), writing.await.unwrap());
    echo.await.unwrap();
    drop(reader);
    assert_gone(&tunnels, &router).await;
}

#[tokio::test]
async fn what_was_written_arrives_though_the_io_is_dropped_at_once() {
    const SIZE: usize = 900 * 1024;
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    for answered in [false, true] {
        let (mut io, mut call) = dial(&tunnels, &mut incoming, &mut router).await;
        if answered {
            call.data(b"x").await;
            io.read_u8().await.unwrap();
        }
        io.write_all(&vec![7; SIZE]).await.unwrap();
        drop(io);
        assert_eq!(tunnels.open(), 1, "it counts until it is over");
        let arrived = call.rest().await;
        assert_eq!(arrived.len(), SIZE, "answered: {answered}");
        drop(call);
        assert_gone(&tunnels, &router).await;
    }
}

#[tokio::test]
async fn a_cut_ends_what_waits_and_the_connection() {
    let mut router = Router::start().await;
    let cut = CancellationToken::new();
    let (tunnels, mut incoming) = Tunnels::new(Arc::new(Plain), cut.clone());
    let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
    let reading = tokio::spawn(async move { io.read_u8().await });
    tokio::task::yield_now().await;
    assert!(!reading.is_finished());
    cut.cancel();
    let end = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_gone(&tunnels, &router).await;
    drop(call);
}

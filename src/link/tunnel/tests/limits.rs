//! What a slow router, a silent one, and one that is not there cost.

use std::sync::atomic::{AtomicU32, Ordering};

use tonic::transport;

use super::*;

/// Longer than a write takes that only waits for its turn.
const STALLED: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_far_side_that_stops_reading_stops_the_writer_and_nobody_else() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut slow, mut slow_call) = dial(&tunnels, &mut incoming, &mut router).await;
    slow_call.data(b"x").await;
    slow.read_u8().await.unwrap();
    let piece = vec![1; 64 * 1024];
    let mut written = 0;
    while let Ok(done) = timeout(STALLED, slow.write(&piece)).await {
        written += done.unwrap();
        // The queue, the buffers of both sides' HTTP/2, and the windows.
        assert!(written <= 8 * 1024 * 1024, "the writer is not stopped");
    }

    let (mut fast, fast_call) = dial(&tunnels, &mut incoming, &mut router).await;
    let echo = tokio::spawn(fast_call.echo());
    for _ in 0..64 {
        fast.write_all(&piece).await.unwrap();
        let mut back = vec![0; piece.len()];
        timeout(PATIENCE, fast.read_exact(&mut back))
            .await
            .unwrap()
            .unwrap();
    }
    drop(fast);
    echo.await.unwrap();

    drop(slow);
    assert_eq!(slow_call.rest().await.len(), written);
    drop(slow_call);
    assert_gone(&tunnels, &router).await;
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_far_side() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
    let mut sent = 0;
    let piece: &'static [u8] = &[3; 64 * 1024];
    while timeout(STALLED, call.data(piece)).await.is_ok() {
        sent += piece.len();
        assert!(sent <= 8 * 1024 * 1024, "the far side is not stopped");
    }
    // The frame of the send that was given up never went.
    drop(call);
    let mut read = Vec::new();
    io.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), sent);
    drop(io);
    assert_gone(&tunnels, &router).await;
}

/// Nothing ends while a tunnel stands still that is full of the smallest frames a client causes.
#[tokio::test]
async fn a_window_of_small_frames_is_within_the_budget_of_h2() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
    // A frame of HTTP/2 without payload.
    let smallest: &'static [u8] = &[0; 9];
    let mut sent = 0;
    while timeout(STALLED, call.data(smallest)).await.is_ok() {
        sent += smallest.len();
        // Else several go into one frame of the router.
        tokio::task::yield_now().await;
    }
    // With 7 bytes each for framing.
    assert!(sent / 9 * 16 >= 2 * 1024 * 1024, "only {sent} bytes");
    drop(call);
    let mut read = Vec::new();
    io.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), sent);
    drop(io);
    assert_gone(&tunnels, &router).await;
}

/// Neither the task that hands over the last frames nor the connection outlives its time.
#[tokio::test]
async fn a_router_that_never_reads_is_left_after_all() {
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    for cut in [false, true] {
        let (mut io, call) = dial(&tunnels, &mut incoming, &mut router).await;
        call.data(b"x").await;
        io.read_u8().await.unwrap();
        let piece = vec![1; 64 * 1024];
        while timeout(STALLED, io.write_all(&piece)).await.is_ok() {}
        if cut {
            tunnels.cut.cancel();
        }
        let start = Instant::now();
        drop(io);
        assert_gone(&tunnels, &router).await;
        let took = start.elapsed();
        assert_eq!(took < Duration::from_secs(2), cut, "{took:?}");
        drop(call);
    }
}

#[tokio::test]
async fn more_tunnels_than_allowed_are_refused_and_silent_ones_end_with_the_lease() {
    let mut router = Router::start().await;
    let cut = CancellationToken::new();
    let (tunnels, mut incoming) = Tunnels::new(Arc::new(Plain), cut.clone());
    let mut open = Vec::new();
    for _ in 0..MAX_TUNNELS {
        open.push(dial(&tunnels, &mut incoming, &mut router).await);
    }
    tunnels.dial(item(&router));
    assert_eq!(tunnels.open(), MAX_TUNNELS);
    assert!(tunnels.tasks.is_empty(), "the refused one has a task");

    drop(open.pop());
    until("no place is free again", || tunnels.open() < MAX_TUNNELS).await;
    open.push(dial(&tunnels, &mut incoming, &mut router).await);
    drop(open);
    let start = Instant::now();
    tunnels.end().await;
    assert!(start.elapsed() < CUT_LIMIT);
    router.left_alone().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let router = Router::start().await;
    let (tunnels, _incoming) = tunnels();
    for token in ["", "a\nb"] {
        let mut item = item(&router);
        item.router_token = token.to_owned();
        tunnels.dial(item);
        assert_eq!((tunnels.open(), tunnels.tasks.len()), (0, 0), "{token:?}");
    }
    for router in ["", "https://router:1", "router"] {
        tunnels.dial(ListenResponse {
            router_endpoint: router.to_owned(),
            router_token: TOKEN.to_owned(),
        });
        assert_eq!((tunnels.open(), tunnels.tasks.len()), (0, 0), "{router:?}");
    }
}

/// Fails as often as it is told.
#[derive(Debug)]
struct Flaky {
    failures: AtomicU32,
    answers: bool,
    untrusted: bool,
}

impl Connect for Flaky {
    async fn connect(
        &self,
        to: &Endpoint,
        _: CancellationToken,
    ) -> Result<RouterClient, ConnectError> {
        if !self.answers {
            std::future::pending::<()>().await;
        }
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            return Err(ConnectError {
                untrusted: self.untrusted,
                ..ConnectError::new(Phase::Tcp, to, "refused")
            });
        }
        let channel = transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Ok(RouterServiceClient::new(channel))
    }
}

async fn connect_to(dialer: Flaky) -> (Result<RouterClient, String>, Duration) {
    let (router, start) = ("router:1".parse().unwrap(), Instant::now());
    let result = connect(&dialer, &router, &CancellationToken::new()).await;
    (result.map_err(|e| e.to_string()), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn connecting_is_tried_again_for_a_while() {
    let flaky = |failures: u32| Flaky {
        failures: failures.into(),
        answers: true,
        untrusted: false,
    };
    let (result, took) = connect_to(flaky(3)).await;
    result.unwrap();
    assert_eq!(took.as_millis() / 10, 210, "0.3 + 0.6 + 1.2 s: {took:?}");

    let (result, took) = connect_to(flaky(u32::MAX)).await;
    assert_eq!(result.unwrap_err(), "cannot reach router:1: refused");
    assert!(
        took > CONNECT_LIMIT / 2 && took <= CONNECT_LIMIT,
        "{took:?}"
    );

    let silent = Flaky {
        answers: false,
        ..flaky(0)
    };
    let (result, took) = connect_to(silent).await;
    assert!(result.unwrap_err().contains("after 15 s"));
    assert_eq!(took.as_secs(), CONNECT_LIMIT.as_secs(), "{took:?}");

    let stranger = Flaky {
        untrusted: true,
        ..flaky(1)
    };
    let (result, took) = connect_to(stranger).await;
    result.unwrap_err();
    assert!(took < FIRST_PAUSE, "{took:?}");
}

#[tokio::test]
async fn tunnels_that_have_just_come_can_be_cut_alone() {
    const OLD: Duration = Duration::from_millis(200);
    let mut router = Router::start().await;
    let (tunnels, mut incoming) = tunnels();
    let (mut old, old_call) = dial(&tunnels, &mut incoming, &mut router).await;
    tokio::time::sleep(OLD).await;
    let (mut fresh, _fresh_call) = dial(&tunnels, &mut incoming, &mut router).await;
    tunnels.cut_since(OLD);
    let cut = timeout(PATIENCE, fresh.read_u8()).await.unwrap();
    assert_eq!(
        cut.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionAborted
    );
    old_call.data(b"x").await;
    let read = timeout(PATIENCE, old.read_u8()).await.unwrap();
    assert_eq!(read.unwrap(), b'x');
}

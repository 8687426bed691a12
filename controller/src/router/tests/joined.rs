//! What joined ends see of each other.

use super::{super::pair::LINGER, *};

#[tokio::test]
async fn one_direction_that_ends_does_not_stop_the_other() {
    for first_ends in [true, false] {
        let lab = Lab::new();
        let (first, second) = lab.pair("s/lease/1").await;
        let (mut ending, mut going_on) = match first_ends {
            true => (first, second),
            false => (second, first),
        };
        ending.up = None;
        for number in 0..50 {
            going_on.say(&number.to_string()).await;
            ending.hear(&number.to_string()).await;
        }
        going_on.up = None;
        ending.ends().await;
        going_on.ends().await;
        lab.until_idle().await;
    }
}

#[tokio::test]
async fn when_the_first_leaves_the_second_is_told() {
    let lab = Lab::new();
    let (first, mut second) = lab.pair("s/lease/1").await;
    drop(first);
    let told = (
        Code::Cancelled,
        "the other end of this stream has left".to_owned(),
    );
    assert_eq!(second.fails().await, told);
    drop(second);
    lab.until_idle().await;
}

#[tokio::test]
async fn when_the_second_leaves_the_first_ends_well() {
    let lab = Lab::new();
    let (mut first, second) = lab.pair("s/lease/1").await;
    drop(second);
    first.ends().await;
    drop(first);
    lab.until_idle().await;
}

/// Peers cancel their call right after their last frame.
#[tokio::test]
async fn what_was_sent_before_leaving_arrives() {
    let lab = Lab::new();
    for first_leaves in [true, false] {
        let (leaver, mut other) = leave_with_full_windows(&lab, first_leaves).await;
        for _ in 0..leaver {
            assert_eq!(
                other.next().await.unwrap().expect("a frame").payload.len(),
                65536
            );
        }
        other.hear_goaway().await;
        match first_leaves {
            true => assert_eq!(other.fails().await.0, Code::Cancelled),
            false => other.ends().await,
        }
        drop(other);
        lab.until_idle().await;
    }
}

/// One end fills the windows towards the other one, and half of the router's own, says GOAWAY and
/// cancels its call. Gives the number of its frames of 64 KiB and the other end.
async fn leave_with_full_windows(lab: &Lab, first_leaves: bool) -> (usize, Peer) {
    let mut client = lab.connect().await;
    let token = format!("left-{first_leaves}/lease/1");
    let (leaver, other) = match first_leaves {
        true => {
            let leaver = Peer::open(&mut client, &token).await.unwrap();
            (leaver, lab.end(&token).await)
        }
        false => {
            let other = lab.end(&token).await;
            (Peer::open(&mut client, &token).await.unwrap(), other)
        }
    };
    let frames = (TUNNEL_WINDOW + STREAM_WINDOW / 2) as usize / 65536;
    for _ in 0..frames {
        leaver.send(frame(FrameType::Data, vec![1; 65536])).await;
    }
    leaver.send(frame(FrameType::Goaway, "")).await;
    // Taken from the queue, and everything before what follows has reached the router.
    let up = leaver.up.as_ref().unwrap();
    drop(
        timeout(SOON, up.reserve())
            .await
            .expect("no pressure")
            .unwrap(),
    );
    let token = format!("marker-{first_leaves}/lease/1");
    let mut marker = Peer::open(&mut client, &token).await.unwrap();
    let mut echo = lab.end(&token).await;
    marker.say("marker").await;
    echo.hear("marker").await;
    echo.finish().await;
    marker.finish().await;
    marker.hear_goaway().await;
    marker.ends().await;
    drop(leaver);
    let tasks = &lab.router.shared.tasks;
    let waits = async {
        while tasks.is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, waits)
        .await
        .expect("its frames wait in the router");
    (frames, other)
}

#[tokio::test]
async fn frames_of_unknown_types_and_empty_ones_are_copied_as_they_are() {
    let lab = Lab::new();
    let (mut first, mut second) = lab.pair("s/lease/1").await;
    let kinds = [0, 3, 6, 7, 0, 1, 42, i32::MAX, i32::MIN, -1];
    for payload in ["", "x", "payload"] {
        for frame_type in kinds {
            let payload = Bytes::from(payload);
            let sent = StreamRequest {
                payload: payload.clone(),
                frame_type,
            };
            first.send(sent.clone()).await;
            second.send(sent).await;
            let expected = StreamResponse {
                payload,
                frame_type,
            };
            assert_eq!(first.next().await.unwrap(), Some(expected.clone()));
            assert_eq!(second.next().await.unwrap(), Some(expected));
        }
    }
}

#[tokio::test]
async fn who_sends_a_message_that_is_too_large_is_told_so() {
    for first_sends in [true, false] {
        let lab = Lab::new();
        let (first, second) = lab.pair("s/lease/1").await;
        let (mut bad, mut other) = match first_sends {
            true => (first, second),
            false => (second, first),
        };
        bad.say("fine").await;
        bad.send(frame(FrameType::Data, vec![0; 4 << 20])).await;
        other.hear("fine").await;
        let (code, text) = bad.fails().await;
        assert_eq!(code, Code::OutOfRange);
        assert!(text.contains("4194304"), "{text}");
        match first_sends {
            true => assert_eq!(other.fails().await.0, Code::Cancelled),
            false => other.ends().await,
        }
        drop((bad, other));
        lab.until_idle().await;
    }
}

/// The largest frame that fits is handed on.
#[tokio::test]
async fn three_megabytes_in_one_frame_pass() {
    let lab = Lab::new();
    let (first, mut second) = lab.pair("s/lease/1").await;
    let payload = vec![7; 3_000_000];
    first.send(frame(FrameType::Data, payload.clone())).await;
    let heard = second.next().await.unwrap().unwrap();
    assert!(heard.payload == payload);
    assert_eq!(lab.router.stats().bytes, 3_000_000);
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_what_a_peer_that_left_had_sent_is_given_up() {
    let lab = Lab::new();
    let (_, stalled) = leave_with_full_windows(&lab, true).await;
    let tasks = &lab.router.shared.tasks;
    tasks.close();
    let began = Instant::now();
    timeout(LINGER * 2, tasks.wait()).await.unwrap();
    assert!(began.elapsed() > LINGER / 2);
    tasks.reopen();
    drop(stalled);
    lab.until_idle().await;
}

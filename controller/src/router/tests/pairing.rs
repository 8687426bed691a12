//! Who is joined with whom, and who waits for how long.

use super::*;

#[tokio::test]
async fn the_first_is_answered_at_once_and_may_send_while_it_waits() {
    let lab = Lab::new();
    let mut first = lab.end("s/lease/1").await;
    for number in 0..100 {
        first.say(&format!("early {number}")).await;
    }
    let mut second = lab.end("s/lease/1").await;
    for number in 0..100 {
        second.hear(&format!("early {number}")).await;
    }
    second.say("late").await;
    first.hear("late").await;
    let stats = lab.router.stats();
    assert_eq!((stats.waiting, stats.pairs, stats.joined), (0, 1, 1));
    first.finish().await;
    second.finish().await;
    first.hear_goaway().await;
    second.hear_goaway().await;
    first.ends().await;
    second.ends().await;
    lab.until_idle().await;
}

#[tokio::test]
async fn the_second_may_be_the_one_that_speaks_first() {
    let lab = Lab::new();
    let (mut first, mut second) = lab.pair("s/lease/1").await;
    second.say("settings").await;
    first.hear("settings").await;
    first.say("preface").await;
    second.hear("preface").await;
}

#[tokio::test]
async fn ends_of_different_streams_do_not_meet() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.end("a/lease/1").await, lab.end("b/lease/1").await);
    let (other_a, other_b) = (lab.end("a/lease/1").await, lab.end("b/lease/1").await);
    other_a.say("to a").await;
    other_b.say("to b").await;
    a.hear("to a").await;
    b.hear("to b").await;
}

/// A client that asks only whether its socket is open leaves without a byte.
#[tokio::test]
async fn an_empty_stream_that_ended_before_the_other_end_came_is_a_stream_like_any_other() {
    let lab = Lab::new();
    let mut first = lab.end("s/lease/1").await;
    first.finish().await;
    let mut second = lab.end("s/lease/1").await;
    second.hear_goaway().await;
    second.finish().await;
    second.ends().await;
    first.hear_goaway().await;
    first.ends().await;
    lab.until_idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_second_is_joined() {
    let lab = Lab::new();
    let mut first = lab.end("s/lease/1").await;
    first.say("hello").await;
    sleep(WAIT - Duration::from_secs(1)).await;
    let mut second = lab.end("s/lease/1").await;
    second.hear("hello").await;
    // And from then on there is no limit.
    sleep(WAIT * 10).await;
    second.say("still here").await;
    first.hear("still here").await;
}

#[tokio::test(start_paused = true)]
async fn a_first_whom_nobody_joins_is_told_after_its_time() {
    let wait = Duration::from_secs(90);
    let lab = Lab::with(RouterLimits {
        wait,
        ..RouterLimits::default()
    });
    let began = Instant::now();
    let mut first = lab.end("s/lease/1").await;
    let status = first.down.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "nobody joined this stream within 90 s");
    assert!(began.elapsed() >= wait && began.elapsed() < wait + Duration::from_secs(1));
    lab.until_idle().await;
    // Who comes now is not left waiting in turn.
    let mut second = lab.end("s/lease/1").await;
    assert_eq!(second.fails().await.0, Code::Cancelled);
}

#[tokio::test]
async fn a_third_is_refused_and_disturbs_nobody() {
    let lab = Lab::new();
    let (mut first, second) = lab.pair("s/lease/1").await;
    let third = Peer::open(&mut lab.connect().await, "s/lease/1").await;
    assert_eq!(third.err().unwrap().code(), Code::AlreadyExists);
    second.say("undisturbed").await;
    first.hear("undisturbed").await;
    assert_eq!(lab.router.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_first_has_left_is_told_at_once() {
    let lab = Lab::new();
    let first = lab.end("s/lease/1").await;
    drop(first);
    lab.until_idle().await;
    let began = Instant::now();
    let mut second = lab.end("s/lease/1").await;
    assert_eq!(second.fails().await.0, Code::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(1));
    // Not for ever: what is known of it is bounded.
    sleep(super::super::table::GONE).await;
    let first = lab.end("s/lease/1").await;
    lab.until(|stats| stats.waiting == 1).await;
    drop(first);
    lab.until_idle().await;
}

#[tokio::test]
async fn only_so_many_wait_of_a_lease_and_in_all() {
    let limits = RouterLimits {
        waiting_of_a_lease: 2,
        waiting: 3,
        ..RouterLimits::default()
    };
    let lab = Lab::with(limits);
    let mut client = lab.connect().await;
    let a1 = lab.end("a1/a/1").await;
    let _a2 = lab.end("a2/a/1").await;
    let full = Peer::open(&mut client, "a3/a/1").await.err().unwrap();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert_eq!(
        full.message(),
        "2 streams of this lease wait for their other end already"
    );
    let _b1 = lab.end("b1/b/1").await;
    let full = Peer::open(&mut client, "c1/c/1").await.err().unwrap();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert_eq!(full.message(), "3 streams wait for their other end already");
    // Seconds always find their place, and make room.
    let mut second = lab.end("a1/a/1").await;
    a1.say("joined").await;
    second.hear("joined").await;
    lab.end("c1/c/1").await;
}

#[tokio::test]
async fn without_a_good_token_nobody_gets_in_and_no_token_is_repeated() {
    let lab = Lab::new();
    let mut client = lab.connect().await;
    let cases: [(&[&str], &str); 4] = [
        (
            &[],
            "missing or invalid authorization: missing authorization header",
        ),
        (
            &["Bearer s/l/1", "Bearer s/l/1"],
            "missing or invalid authorization: multiple authorization headers",
        ),
        (
            &["Basic secret"],
            "missing or invalid authorization: malformed authorization header",
        ),
        (&["Bearer secret"], "invalid jwt token"),
    ];
    for (headers, text) in cases {
        let mut request = Request::new(futures::stream::pending());
        for header in headers {
            request
                .metadata_mut()
                .append("authorization", header.parse().unwrap());
        }
        let status = client.stream(request).await.err().unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unauthenticated, text)
        );
    }
    assert!(lab.router.shared.table().is_idle());
}

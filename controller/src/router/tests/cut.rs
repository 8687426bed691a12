//! Streams of a lease that ended, or has another holder.

use super::*;

fn aborted(text: &str) -> (Code, String) {
    (Code::Aborted, text.to_owned())
}

#[tokio::test]
async fn the_streams_of_a_lease_that_ended_are_cut_and_no_others() {
    let lab = Lab::new();
    let (mut first, mut second) = lab.pair("a1/a/1").await;
    let (mut other_first, other_second) = lab.pair("a2/a/3").await;
    let mut waiting = lab.end("a3/a/1").await;
    let (mut mine, yours) = lab.pair("b1/b/1").await;
    lab.world.now_in("a", u64::MAX);
    assert_eq!(lab.router.cut("a", Cut::Ended), 3);
    let told = aborted("the lease of this stream has ended");
    for end in [&mut first, &mut second, &mut other_first, &mut waiting] {
        assert_eq!(end.fails().await, told);
    }
    drop((first, second, other_first, other_second, waiting));
    yours.say("unharmed").await;
    mine.hear("unharmed").await;
    assert_eq!(lab.router.cut("a", Cut::Ended), 0);
    assert_eq!(lab.router.stats().cut, 3);
    drop((mine, yours));
    lab.until_idle().await;
}

#[tokio::test]
async fn a_transfer_cuts_the_streams_of_earlier_epochs() {
    let lab = Lab::new();
    let (mut old_first, mut old_second) = lab.pair("old/lease/4").await;
    let mut old_waiting = lab.end("waiting/lease/4").await;
    let (mut new_first, new_second) = lab.pair("new/lease/5").await;
    lab.world.now_in("lease", 5);
    assert_eq!(lab.router.cut("lease", Cut::Transferred { epoch: 5 }), 2);
    let told = aborted("the lease of this stream has another holder now");
    for end in [&mut old_first, &mut old_second, &mut old_waiting] {
        assert_eq!(end.fails().await, told);
    }
    new_second.say("unharmed").await;
    new_first.hear("unharmed").await;
    let late = Peer::open(&mut lab.connect().await, "waiting/lease/4").await;
    assert_eq!(late.err().unwrap().code(), Code::Unauthenticated);
}

/// Both directions stand with full windows; nothing more of them may get through.
#[tokio::test]
async fn nothing_of_a_former_holder_gets_through_after_the_cut() {
    let lab = Lab::new();
    let (mut first, mut second) = lab.pair("s/lease/1").await;
    for end in [&mut first, &mut second] {
        let up = end.up.take().unwrap();
        let full = async {
            let payload = || frame(FrameType::Data, vec![1; 65536]);
            while timeout(Duration::from_millis(300), up.send(payload()))
                .await
                .is_ok()
            {}
        };
        timeout(SOON, full).await.expect("pressure");
    }
    lab.router.cut("lease", Cut::Ended);
    let handed_on = lab.router.stats().bytes;
    let mut heard = 0;
    for end in [&mut first, &mut second] {
        let told = loop {
            match end.next().await {
                Ok(frame) => heard += frame.expect("no clean end").payload.len() as u64,
                Err(status) => break status,
            }
        };
        assert_eq!(told.code(), Code::Aborted);
    }
    assert_eq!((heard, lab.router.stats().bytes), (handed_on, handed_on));
    drop((first, second));
    lab.until_idle().await;
}

/// The lease changes hands between the two questions whether a call is admitted.
struct Slips(std::sync::atomic::AtomicUsize);

impl Passes for Slips {
    fn admit(&self, _: &Token) -> Result<Pass, Status> {
        let pass = Pass {
            stream: "s".to_owned(),
            lease: "lease".to_owned(),
            epoch: 1,
        };
        match self.0.fetch_add(1, Relaxed) % 2 {
            0 => Ok(pass),
            _ => Err(Status::unauthenticated("invalid jwt token")),
        }
    }
}

#[tokio::test]
async fn no_call_slips_in_beside_a_cut() {
    let mut lab = Lab::new();
    let passes = Arc::new(Slips(0.into()));
    let router = Router::new(passes, RouterLimits::default());
    let (incoming, connections) = mpsc::channel(1);
    let server = Server::builder()
        .add_service(router.service())
        .serve_with_incoming(ReceiverStream::new(connections));
    lab._server = AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }));
    (lab.router, lab.incoming) = (router, incoming);
    let refused = Peer::open(&mut lab.connect().await, "any").await;
    assert_eq!(refused.err().unwrap().code(), Code::Unauthenticated);
    lab.until_idle().await;
}

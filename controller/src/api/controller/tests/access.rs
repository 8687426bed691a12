//! Whoever has no good token of the right kind gets nothing and learns nothing.

use rigd_proto::v1::{
    DialRequest, GetLeaseRequest, GetServiceEndpointsRequest, ListLeasesRequest, ListenRequest,
    ReleaseLeaseRequest, RequestLeaseRequest, UnregisterRequest,
};

use super::{log::Log, *};

/// The answers of all calls, by name; those for exporters first.
async fn all(api: &mut Api) -> Vec<(&'static str, (Code, String))> {
    let one = || "one".to_owned();
    vec![
        ("Register", told(api.register(register_request()).await)),
        (
            "Unregister",
            told(api.unregister(UnregisterRequest::default()).await),
        ),
        (
            "ReportStatus",
            told(api.report_status(ReportStatusRequest::default()).await),
        ),
        ("Status", told(api.status(StatusRequest {}).await)),
        (
            "Listen",
            told(api.listen(ListenRequest { lease_name: one() }).await),
        ),
        (
            "Endpoints",
            told(
                api.get_service_endpoints(GetServiceEndpointsRequest {})
                    .await,
            ),
        ),
        (
            "Dial",
            told(api.dial(DialRequest { lease_name: one() }).await),
        ),
        (
            "GetLease",
            told(api.get_lease(GetLeaseRequest { name: one() }).await),
        ),
        (
            "RequestLease",
            told(api.request_lease(RequestLeaseRequest::default()).await),
        ),
        (
            "ListLeases",
            told(api.list_leases(ListLeasesRequest {}).await),
        ),
        (
            "ReleaseLease",
            told(api.release_lease(ReleaseLeaseRequest { name: one() }).await),
        ),
    ]
}

/// Of calls that only exporters make.
const FOR_EXPORTERS: usize = 6;
/// Of calls that both make.
const FOR_BOTH: &str = "ReleaseLease";

#[tokio::test]
async fn without_a_good_token_nobody_learns_anything() {
    let lab = Lab::new().await;
    let (_rig, _status) = lab.there().await;
    lab.ask("one", "bench").await;
    let before = lab.engine.read(Clone::clone);
    let foreign = Lab::new().await;
    let good = lab.token(Kind::Exporter, "rig-1");
    let mut forged = good.reveal().to_owned();
    let flipped = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(flipped);
    forged.replace_range(forged.len() - 10..forged.len() - 8, "zz");
    let tokens = [
        (None, "missing authorization header"),
        (Some("nonsense".to_owned()), "failed to authenticate token"),
        (
            Some(forged),
            "oidc: verify token: failed to verify signature",
        ),
        (
            Some(foreign.token(Kind::Exporter, "rig-1").reveal().to_owned()),
            "oidc: verify token: failed to verify signature",
        ),
    ];
    for (token, text) in tokens {
        let mut texts = Vec::new();
        // One that is there and one that is not: both are told the same.
        for name in ["rig-1", "rig-9"] {
            let who = Who {
                token: token.clone().map(Token::new),
                name: name.into(),
                ..lab.who(Kind::Exporter, "rig-1")
            };
            texts.push(all(&mut lab.as_who(who).await).await);
        }
        for (call, (code, told)) in texts.iter().flatten() {
            let limited = *code == Code::ResourceExhausted;
            assert!(told == text || limited, "{call}: {told}");
            assert!(!told.contains("rig"), "{call}: {told}");
        }
    }
    assert_eq!(lab.engine.read(Clone::clone), before);
}

#[tokio::test]
async fn each_call_is_for_its_kind() {
    let lab = Lab::new().await;
    let (mut rig, mut bench) = (lab.exporter("rig-1").await, lab.client("bench").await);
    let mismatch = (Code::InvalidArgument, "object kind mismatch".to_owned());
    for (place, (call, answer)) in all(&mut bench).await.into_iter().enumerate() {
        assert_eq!(
            answer == mismatch,
            place < FOR_EXPORTERS,
            "{call}: {answer:?}"
        );
    }
    for (place, (call, answer)) in all(&mut rig).await.into_iter().enumerate() {
        let refused = place >= FOR_EXPORTERS && call != FOR_BOTH;
        assert_eq!(answer == mismatch, refused, "{call}: {answer:?}");
    }
    // A client that claims to be an exporter has the wrong token for that.
    let who = Who {
        kind: "Exporter",
        ..lab.who(Kind::Client, "bench")
    };
    let answer = told(lab.as_who(who).await.status(StatusRequest {}).await);
    assert_eq!(answer.0, Code::Unknown, "{answer:?}");
    // Nor does a good token open what is somebody else's.
    let who = Who {
        name: "other".into(),
        ..lab.who(Kind::Client, "bench")
    };
    let answer = told(
        lab.as_who(who)
            .await
            .list_leases(ListLeasesRequest {})
            .await,
    );
    assert_eq!(
        answer,
        (
            Code::PermissionDenied,
            "permission denied for client lab/other".into()
        )
    );
}

#[tokio::test]
async fn failed_logins_are_logged_with_the_address_and_without_the_token_and_limited() {
    let lab = Lab::new().await;
    let log = Log::new();
    let token = lab.token(Kind::Client, "bench");
    let mut revoked = lab.engine.read(|world| world.clients["bench"].clone());
    revoked.tokens_from = SystemTime::now();
    lab.keep(vec![Change::Client("bench".into(), Some(revoked))])
        .await;
    let (secret, who) = (token.reveal().to_owned(), lab.who(Kind::Client, "bench"));
    let mut former = lab
        .as_who(Who {
            token: Some(token),
            ..who
        })
        .await;
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(told(former.list_leases(ListLeasesRequest {}).await).0);
    }
    assert_eq!(codes[0], Code::Unknown);
    assert_eq!(codes[19], Code::ResourceExhausted);
    // Who has a good one is served meanwhile, also from the same address under the same name.
    lab.client("bench")
        .await
        .list_leases(ListLeasesRequest {})
        .await
        .unwrap();
    let mut rig = lab.who(Kind::Exporter, "rig-1");
    rig.token = Some(Token::new("nonsense"));
    told(lab.as_who(rig).await.status(StatusRequest {}).await);
    let lines = log.lines();
    assert!(lines.len() < 15, "{lines:?}");
    assert!(
        lines[0].contains("client authentication failed"),
        "{lines:?}"
    );
    let last = lines.last().unwrap();
    assert!(last.contains("exporter authentication failed"), "{lines:?}");
    let signature = secret.rsplit('.').next().unwrap();
    for line in lines {
        assert!(line.contains(PEER) && !line.contains(signature), "{line}");
        assert!(!line.contains("nonsense"), "{line}");
    }
}

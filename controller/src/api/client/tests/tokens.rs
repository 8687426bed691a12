//! Who may call, and new tokens.

use super::*;

fn rotation(parent: &str) -> RotateTokenRequest {
    RotateTokenRequest {
        parent: parent.into(),
    }
}

#[tokio::test]
async fn a_new_token_is_good_and_so_is_the_old_one() {
    let site = Site::open().await;
    let mut alice = site.client("alice").await;
    let answer = alice.rotate_token(rotation("namespaces/lab")).await;
    let answer = answer.unwrap().into_inner();
    let mut renewed = site.credentials(Kind::Client, "alice");
    assert_ne!(renewed.token, answer.token);
    renewed.token = answer.token;
    let year = 365 * 24 * 60 * 60;
    let now = prost_types::Timestamp::from(std::time::SystemTime::now());
    let left = answer.expiry.unwrap().seconds - now.seconds;
    assert!(left > year - 3600 && left <= year, "{left}");
    let mut renewed = site.client_with(renewed).await;
    for client in [&mut renewed, &mut alice] {
        client
            .rotate_token(rotation("namespaces/lab"))
            .await
            .unwrap();
    }
    let answer = alice.rotate_token(rotation("namespaces/other")).await;
    assert_eq!(refused(answer).0, Code::PermissionDenied);
}

#[tokio::test]
async fn exporters_and_strangers_are_no_clients() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[])).await;
    let rig = site.credentials(Kind::Exporter, "rig");
    let mut stranger = site.credentials(Kind::Client, "alice");
    stranger.name = "bob".into();
    let mut abroad = site.credentials(Kind::Client, "alice");
    abroad.namespace = "other".into();
    for (credentials, code, text) in [
        (rig, Code::InvalidArgument, "object kind mismatch"),
        (
            stranger,
            Code::PermissionDenied,
            "permission denied for client lab/bob",
        ),
        (abroad, Code::Unknown, "not found"),
    ] {
        let mut client = site.client_with(credentials).await;
        let name = lease_name("x");
        let (was, told) = refused(client.get_lease(GetLeaseRequest { name }).await);
        assert!(was == code && told.contains(text), "{was:?}: {told}");
        let (was, _) = refused(client.create_lease(wish("", "a=1")).await);
        assert_eq!(was, code);
        let (was, _) = refused(delete(&mut client, "x").await);
        assert_eq!(was, code);
    }
}

//! Who gets a token, and which are good.

use super::*;
use crate::model::Presence;

#[tokio::test]
async fn a_new_client_or_exporter_gets_in() {
    let lab = Lab::new().await;
    let none = Labels::new();
    let client = create(&lab.engine, Kind::Client, "carol", none)
        .await
        .unwrap();
    let board = labels(&[("board", "rpi3"), ("example.org/rack", "7")]);
    let exporter = create(&lab.engine, Kind::Exporter, "rig-3", board.clone());
    let exporter = exporter.await.unwrap();
    for (issued, kind, name) in [
        (&client, Kind::Client, "carol"),
        (&exporter, Kind::Exporter, "rig-3"),
    ] {
        assert_eq!((issued.kind, issued.name.as_str()), (kind, name));
        assert_eq!(issued.namespace, "lab");
        assert!(issued.expires > SystemTime::now());
        assert!(lab.admits(issued), "{name}");
    }
    let world = lab.world();
    assert_eq!(world.exporters["rig-3"].labels, board);
    assert!(world.exporters["rig-3"].enabled && !world.exporters["rig-3"].hosted);
    // Kept, not only known.
    let mut world = export(&lab.engine).into_parts().world;
    for exporter in world.exporters.values_mut() {
        exporter.presence = Presence::default();
    }
    drop(lab.engine);
    let kept = Store::open(lab.directory.path()).unwrap().load().unwrap();
    assert_eq!(kept.world, world);
}

#[tokio::test]
async fn what_cannot_be_created_is_told() {
    let lab = Lab::new().await;
    let before = lab.world();
    let board = labels(&[("board", "rpi4")]);
    for (kind, name, labels, code, text) in [
        (
            Kind::Client,
            "alice",
            Labels::new(),
            Code::AlreadyExists,
            "client lab/alice already exists",
        ),
        (
            Kind::Exporter,
            "rig-1",
            board.clone(),
            Code::AlreadyExists,
            "exporter lab/rig-1 already exists",
        ),
        (
            Kind::Client,
            "Alice",
            Labels::new(),
            Code::InvalidArgument,
            "invalid name \"Alice\": a lowercase RFC 1123 subdomain must",
        ),
        (
            Kind::Exporter,
            "rig-3",
            Labels::new(),
            Code::InvalidArgument,
            "an exporter needs at least one label, by which leases ask for it, such as `board=rpi4`",
        ),
        (
            Kind::Exporter,
            "rig-3",
            labels(&[("board", "rpi 4")]),
            Code::InvalidArgument,
            "label board: invalid label value 'rpi 4': it must have at most 63 letters, digits",
        ),
        (
            Kind::Client,
            "carol",
            labels(&[("a/b/c", "")]),
            Code::InvalidArgument,
            "label a/b/c: invalid label key 'a/b/c': it must have 1 to 63 letters, digits",
        ),
    ] {
        let (is, said) = refused(create(&lab.engine, kind, name, labels).await);
        assert_eq!(is, code, "{said}");
        assert!(said.starts_with(text), "{said}");
    }
    // An exporter may be called as a client is.
    create(&lab.engine, Kind::Exporter, "alice", board)
        .await
        .unwrap();
    let mut after = lab.world();
    after.exporters.remove("alice");
    assert_eq!(after, before);
}

#[tokio::test]
async fn rotation_revokes_and_one_more_does_not() {
    let lab = Lab::new().await;
    for (kind, name, other) in [
        (Kind::Client, "alice", "bob"),
        (Kind::Exporter, "rig-1", "rig-2"),
    ] {
        let first = issue(&lab.engine, kind, name).await.unwrap();
        let second = issue(&lab.engine, kind, name).await.unwrap();
        let others = issue(&lab.engine, kind, other).await.unwrap();
        assert!(lab.admits(&first) && lab.admits(&second));

        let third = rotate(&lab.engine, kind, name).await.unwrap();
        assert!(!lab.admits(&first) && !lab.admits(&second));
        assert!(lab.admits(&third) && lab.admits(&others));

        let fourth = rotate(&lab.engine, kind, name).await.unwrap();
        assert!(!lab.admits(&third) && lab.admits(&fourth));
    }
}

#[tokio::test]
async fn rotation_revokes_also_when_the_clock_went_back() {
    let lab = Lab::new().await;
    let later = SystemTime::now() + std::time::Duration::from_secs(3600);
    let change = |world: &World| {
        let mut alice = world.clients["alice"].clone();
        alice.tokens_from = later;
        vec![Change::Client("alice".into(), Some(alice))]
    };
    let plan = lab.engine.change(|world, _| Ok(((), change(world))));
    plan.await.unwrap();
    let before = issue(&lab.engine, Kind::Client, "alice").await.unwrap();
    assert!(lab.admits(&before));
    let after = rotate(&lab.engine, Kind::Client, "alice").await.unwrap();
    assert!(!lab.admits(&before) && lab.admits(&after));
}

#[tokio::test]
async fn nobody_gets_the_token_of_somebody_who_is_not_there() {
    let lab = Lab::new().await;
    let text = "client lab/alise not found: did you mean alice?";
    let expected = (Code::NotFound, text.to_owned());
    assert_eq!(
        refused(rotate(&lab.engine, Kind::Client, "alise").await),
        expected
    );
    assert_eq!(
        refused(issue(&lab.engine, Kind::Client, "alise").await),
        expected
    );
    let (_, said) = refused(issue(&lab.engine, Kind::Exporter, "alice").await);
    assert_eq!(said, "exporter lab/alice not found: there is rig-1, rig-2");
}

#[tokio::test]
async fn a_namesake_of_a_former_client_is_somebody_else() {
    let lab = Lab::new().await;
    let make = || create(&lab.engine, Kind::Client, "carol", Labels::new());
    let former = make().await.unwrap();
    delete(&lab.engine, What::Client, "carol").await.unwrap();
    assert!(!lab.admits(&former));
    let again = make().await.unwrap();
    assert!(!lab.admits(&former) && lab.admits(&again));
}

#[tokio::test]
async fn the_labs_own_client_is_made_once() {
    let lab = Lab::new().await;
    let first = own_client(&lab.engine, "default").await.unwrap();
    let uid = lab.world().clients["default"].uid;
    let second = own_client(&lab.engine, "default").await.unwrap();
    assert!(lab.admits(&first) && lab.admits(&second));
    assert_eq!(lab.world().clients["default"].uid, uid);
    let (code, _) = refused(own_client(&lab.engine, "De fault").await);
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let lab = Lab::new().await;
    let issued = issue(&lab.engine, Kind::Client, "alice").await.unwrap();
    let token = issued.token.reveal().to_owned();
    assert!(token.len() > 100);
    let signature = token.rsplit('.').next().unwrap();
    let dump = export(&lab.engine);
    for printed in [
        format!("{issued:?}"),
        format!("{:?}", lab.engine),
        format!("{dump:?}"),
    ] {
        assert!(!printed.contains(signature), "{printed}");
    }
    // The keys are in the export, and in nothing that is printed of it.
    let json: serde_json::Value = serde_json::from_str(&dump.to_json().unwrap()).unwrap();
    let secrets = json["secrets"].as_object().unwrap();
    assert!(!secrets.is_empty());
    for secret in secrets.values() {
        assert!(!format!("{dump:?}").contains(secret.as_str().unwrap()));
    }
}

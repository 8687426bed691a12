//! Exporters that come and go with their files.

use super::*;

fn file(name: &str, board: &str) -> (String, Labels) {
    (name.to_owned(), labels(&[("board", board)]))
}

/// `rig-1` of the lab, which is there, as one that its process serves.
async fn hosted_rig(lab: &Lab) {
    let plan = lab.engine.change(|world, _| {
        let mut rig = world.exporters["rig-1"].clone();
        rig.hosted = true;
        rig.labels.insert("jumpstarter.dev/name".into(), "r".into());
        Ok(((), vec![Change::Exporter("rig-1".into(), Some(rig))]))
    });
    plan.await.unwrap();
}

#[tokio::test]
async fn a_file_does_not_take_over_what_an_administrator_made() {
    let lab = Lab::new().await;
    let before = lab.world();
    let files = [file("good", "x"), file("rig-1", "y")];
    let (code, said) = refused(host(&lab.engine, &files).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(
        said.contains("\"rig-1\"") && said.contains("same name"),
        "{said}"
    );
    assert_eq!(lab.world(), before);
}

#[tokio::test]
async fn hosted_exporters_are_as_their_files_say() {
    let lab = Lab::new().await;
    let files = [file("b", "x"), file("a", "y")];
    let issued = host(&lab.engine, &files).await.unwrap();
    let names: Vec<_> = issued.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert!(issued.iter().all(|one| lab.admits(one)));
    let before = lab.world();
    assert!(before.exporters["a"].hosted);

    // The same once more: the same exporters, and the tokens of before stay good.
    let files = [file("a", "y"), file("b", "x")];
    let again = host(&lab.engine, &files).await.unwrap();
    assert!(again.iter().all(|one| lab.admits(one)));
    assert_eq!(lab.world(), before);
    assert!(issued.iter().all(|one| lab.admits(one)));

    // A label changes, and one goes: those of others stay.
    host(&lab.engine, &[file("a", "z")]).await.unwrap();
    assert_eq!(lab.names(What::Exporter), ["a", "rig-1", "rig-2"]);
    let world = lab.world();
    assert_eq!(world.exporters["a"].labels, labels(&[("board", "z")]));
    assert_eq!(world.exporters["a"].uid, before.exporters["a"].uid);
    assert!(!lab.admits(&issued[0]) && lab.admits(&issued[1]));
}

#[tokio::test]
async fn what_an_administrator_said_of_a_hosted_exporter_stays() {
    let lab = Lab::new().await;
    hosted_rig(&lab).await;
    host(&lab.engine, &[file("rig-1", "new")]).await.unwrap();
    hold(&lab.engine, "rig-1", Some("why".into()))
        .await
        .unwrap();
    host(&lab.engine, &[file("rig-1", "newer")]).await.unwrap();
    let rig = lab.world().exporters["rig-1"].clone();
    assert!(rig.hosted);
    assert_eq!(rig.held.as_deref(), Some("why"));
    // What it said of itself stays, too.
    let wanted = [("board", "newer"), ("jumpstarter.dev/name", "r")];
    assert_eq!(rig.labels, labels(&wanted));
    assert_eq!(rig.presence.streams, 1);
}

#[tokio::test]
async fn a_hosted_exporter_that_is_leased_stays_until_it_is_not() {
    let lab = Lab::new().await;
    hosted_rig(&lab).await;
    host(&lab.engine, &[file("rig-1", "rpi4")]).await.unwrap();
    lab.ask("one", "alice", "board=rpi4").await;
    assert_eq!(lab.lease("one").held.unwrap().exporter, "rig-1");
    host(&lab.engine, &[]).await.unwrap();
    assert_eq!(lab.names(What::Exporter), ["rig-1", "rig-2"]);
    assert_eq!(lab.lease("one").over, None);
    delete(&lab.engine, What::Lease, "one").await.unwrap();
    host(&lab.engine, &[]).await.unwrap();
    assert_eq!(lab.names(What::Exporter), ["rig-2"]);
}

#[tokio::test]
async fn one_wrong_file_changes_nothing() {
    let lab = Lab::new().await;
    let before = lab.world();
    for (second, text) in [
        (file("Rig", "x"), "exporter \"Rig\": invalid name \"Rig\": "),
        (
            file("rig", "x y"),
            "exporter \"rig\": label board: invalid label value 'x y': ",
        ),
        (file("good", "y"), "exporter \"good\" is there twice: "),
    ] {
        let (code, said) = refused(host(&lab.engine, &[file("good", "x"), second]).await);
        assert_eq!(code, Code::InvalidArgument);
        assert!(said.starts_with(text), "{said}");
    }
    assert_eq!(lab.world(), before);
}

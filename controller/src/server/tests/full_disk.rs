//! A lab that cannot keep what it is told. It takes a process of its own: this test program, with a
//! limit for its files.

use std::process::Command;

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::store::Store;

const SAYS: &str = "the lab does not serve";

#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn child_without_room() {
    let site = Site::open().await;
    let mut health = HealthClient::new(site.channel().await);
    let everything = HealthCheckRequest::default();
    let checked = health.check(everything.clone()).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::Serving);
    let watched = health.watch(everything.clone()).await.unwrap();
    let mut watched = watched.into_inner();
    let told = watched.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);

    let mut number = 0;
    let refused = loop {
        number += 1;
        let mut world = crate::model::World::default();
        sample::client(&mut world, &format!("client-{number}"), &[]);
        let (name, client) = world.clients.pop_first().unwrap();
        let change = crate::store::Change::Client(name, Some(client));
        let kept = site.engine.change(|_, _| Ok(((), vec![change]))).await;
        if let Err(refused) = kept {
            break refused;
        }
    };
    assert_eq!(refused.code(), Code::Internal);
    let checked = health.check(everything).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::NotServing);
    let told = tokio::time::timeout(SOON, watched.message()).await;
    let told = told.expect("told some time").unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    println!("\n{SAYS}");
}

#[test]
fn a_lab_that_cannot_keep_its_state_does_not_serve() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    let state = directory.path().join("controller.redb");
    let blocks = std::fs::metadata(state).unwrap().len() / 512 + 64;
    // The shell ignores the signal that would end the child instead of failing its write.
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""),
        ])
        .arg(std::env::current_exe().unwrap())
        .args([
            "server::tests::full_disk::child_without_room",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().any(|line| line == SAYS), "{output:?}");
}

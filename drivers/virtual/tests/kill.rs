//! A daemon that is killed in the middle of a write leaves an incomplete card.

mod rig;

use std::process::{Child, Command, Stdio};

use rig::{Rig, image};
use serde_json::json;

const DIR: &str = "RIGD_TEST_KILLED_WRITER_DIR";

/// The process to kill; also gone when the test fails.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        // SIGKILL; an error means that it has ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test of its own: the process that the test below kills. Writes without an end.
#[tokio::test]
#[ignore = "started by killed_in_the_middle_of_a_write"]
async fn writer() {
    let dir = std::env::var_os(DIR).expect("started by the test below");
    let rig = Rig::start(dir.as_ref(), json!({})).await;
    rig.boot(&image(1, 1_000_000)).await;
    let (sender, work) = rig.begin_write();
    let work = tokio::spawn(work);
    sender.send(bytes::Bytes::from_static(b"half")).await;
    work.await.unwrap().ok();
    drop(sender);
}

#[tokio::test]
async fn killed_in_the_middle_of_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap());
    let writer = writer
        .args(["--exact", "writer", "--ignored"])
        .env(DIR, dir.path())
        .stdout(Stdio::null());
    let mut writer = Killed(writer.spawn().unwrap());
    let card = dir.path().join("dutlink/card.img");
    let half_written = || std::fs::read(&card).is_ok_and(|card| card.starts_with(b"half"));
    let wait = async {
        while !half_written() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(rig::LIMIT, wait)
        .await
        .expect("the writer writes");
    writer.kill();

    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.console().await;
    rig.call("power", "on").await;
    console.expect("image incomplete\r\n").await;
    rig.call("power", "off").await;
    rig.boot(&image(2, 1_000_000)).await;
    rig.stop().await;
}

//! The mock muxes and the mock flasher.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod lease;

use lease::{Lease, pattern};
use rigd_driver::{Driver, DriverError};
use rigd_drivers_storage::{
    MockFlasher, MockFlasherConfig, MockMux, MockMuxConfig, MockMuxFlasher,
};
use serde_json::json;

#[tokio::test]
async fn a_mock_mux_gives_back_what_was_written() {
    let lease = Lease::start::<MockMux>(MockMuxConfig {}).await;
    for method in ["host", "dut", "off"] {
        assert_eq!(lease.ok(method, json!([])).await, json!(null));
    }
    // Longer than the buffers and the steps, and no multiple of either.
    let image = pattern(5 * 1024 * 1024 + 13);
    lease
        .send("write", json!(["HANDLE"]), &image)
        .await
        .unwrap();
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(read == image);
    // A second reading starts at the beginning again.
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(read == image);
}

#[tokio::test]
async fn a_short_image_replaces_a_long_one() {
    let lease = Lease::start::<MockMuxFlasher>(MockMuxConfig {}).await;
    let read = async || lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert_eq!(read().await, b"");
    lease
        .send("write", json!(["HANDLE"]), &pattern(100_000))
        .await
        .unwrap();
    lease
        .send("write", json!(["HANDLE"]), b"hello")
        .await
        .unwrap();
    assert_eq!(read().await, b"hello");
    lease.send("write", json!(["HANDLE"]), b"").await.unwrap();
    assert_eq!(read().await, b"");
}

#[tokio::test]
async fn a_card_is_forgotten_with_its_lease() {
    let lease = Lease::start::<MockMux>(MockMuxConfig {}).await;
    lease
        .send("write", json!(["HANDLE"]), b"secret")
        .await
        .unwrap();
    lease.next().await;
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert_eq!(read, b"");
}

#[tokio::test]
async fn a_broken_upload_is_an_error_and_the_next_write_works() {
    let lease = Lease::start::<MockMux>(MockMuxConfig {}).await;
    let (sender, handle) = lease.upload();
    assert!(sender.send(pattern(10).into()).await);
    drop(sender);
    let error = lease.fails("write", json!([handle])).await;
    assert!(error.to_string().starts_with("upload broken:"), "{error}");
    lease
        .send("write", json!(["HANDLE"]), b"again")
        .await
        .unwrap();
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert_eq!(read, b"again");
}

#[tokio::test]
async fn a_caller_that_leaves_a_stalled_upload_frees_the_mux() {
    let lease = Lease::start::<MockMux>(MockMuxConfig {}).await;
    let (sender, handle) = lease.upload();
    assert!(sender.send(pattern(10).into()).await);
    {
        let write = lease.call("write", json!([handle]));
        tokio::pin!(write);
        // Nothing more comes; the call waits for its client when the first chunk is taken.
        while lease.instance.busy().is_none() {
            tokio::select! {
                _ = &mut write => panic!("the upload has no end"),
                () = tokio::task::yield_now() => {}
            }
        }
        let busy = lease.fails("read", json!([lease.download().1])).await;
        assert!(matches!(busy, DriverError::Busy { .. }), "{busy:?}");
    }
    sender.closed().await;
    // A step that ran when the caller left keeps its turn until it is done.
    while lease.instance.busy().is_some() {
        tokio::task::yield_now().await;
    }
    lease
        .send("write", json!(["HANDLE"]), b"free")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_handle_changes_nothing() {
    let lease = Lease::start::<MockMux>(MockMuxConfig {}).await;
    lease
        .send("write", json!(["HANDLE"]), b"kept")
        .await
        .unwrap();
    let unknown = json!({"kind": "client_stream", "uuid": "6f1c4d4e-6dbf-4f52-8d36-6a0f6bd6a7a1"});
    let error = lease.fails("write", json!([unknown])).await;
    assert_eq!(
        error.to_string(),
        "UUID('6f1c4d4e-6dbf-4f52-8d36-6a0f6bd6a7a1')"
    );
    let error = lease.fails("write", json!([{"kind": "pigeon"}])).await;
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert_eq!(read, b"kept");
}

#[tokio::test]
async fn a_flasher_keeps_its_targets_apart_and_forgets_them() {
    let lease = Lease::start::<MockFlasher>(MockFlasherConfig {}).await;
    let flash = async |target, data| lease.send("flash", json!(["HANDLE", target]), data).await;
    let dump = async |target| lease.receive("dump", json!(["HANDLE", target])).await;
    flash(json!(null), b"default image").await.unwrap();
    flash(json!("boot"), b"boot image").await.unwrap();
    assert_eq!(dump(json!("default")).await.unwrap(), b"default image");
    assert_eq!(dump(json!(null)).await.unwrap(), b"default image");
    assert_eq!(dump(json!("boot")).await.unwrap(), b"boot image");
    let error = dump(json!("root")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "target \"root\" was not flashed in this lease"
    );
    let error = flash(json!("../../etc/passwd"), b"x").await.unwrap_err();
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    lease.next().await;
    dump(json!("boot")).await.unwrap_err();
}

#[tokio::test]
async fn a_flasher_bounds_its_targets() {
    let lease = Lease::start::<MockFlasher>(MockFlasherConfig {}).await;
    for target in 0..64 {
        let args = json!(["HANDLE", target.to_string()]);
        lease.send("flash", args, b"x").await.unwrap();
    }
    let error = lease
        .send("flash", json!(["HANDLE", "one more"]), b"x")
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    lease
        .send("flash", json!(["HANDLE", "7"]), b"again")
        .await
        .unwrap();
}

#[test]
fn labels_are_those_of_the_released_clients() {
    let module = "jumpstarter_driver_opendal.client";
    assert_eq!(MockMux::CLIENT, format!("{module}.StorageMuxClient"));
    assert_eq!(
        MockMuxFlasher::CLIENT,
        format!("{module}.StorageMuxFlasherClient")
    );
    assert_eq!(MockFlasher::CLIENT, format!("{module}.FlasherClient"));
}

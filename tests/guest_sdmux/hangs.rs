//! A mux whose reader does not answer.

use rigd_client::{Code, Exporter};
use serde_json::json;

use crate::{
    cards::{positions, refused, storage},
    rig::Guest,
};

pub(crate) async fn a_usbsdmux_that_does_not_answer(guest: &Guest, exporter: &Exporter) {
    let (mux, card) = (guest.usb("usbsdmux"), storage(exporter, "usbsdmux").await);
    let power = exporter.device("power").await.unwrap().power();
    card.host().await.unwrap();
    let moves = positions(&mux).len();
    // Commands reach it, answers never come.
    mux.set(json!({"answer": "never", "only": "in"}));
    let mut others = 0;
    let hung = card.dut();
    tokio::pin!(hung);
    let hung = loop {
        tokio::select! {
            hung = &mut hung => break hung,
            off = power.off() => off.unwrap(),
        }
        others += 1;
    };
    let text = refused(hung, Code::DeadlineExceeded);
    assert!(text.starts_with("cannot ask where the card is: "), "{text}");
    // A command has three seconds; one that waited for it would be the only one.
    assert!(others > 1, "{others} other calls meanwhile");
    assert_eq!(positions(&mux).len(), moves, "it was switched");
    mux.recover();
    card.dut().await.unwrap();
    assert_eq!(mux.state()["position"], json!("dut"));
}

//! A mux under rules: the board never loses its card while it runs, nor starts without it.

use std::path::Path;

use rigd_client::{Code, Compression, Exporter};
use serde_json::json;

use crate::{
    cards::{Image, MIB, positions, refused, storage},
    rig::Guest,
};

pub(crate) async fn the_card_stays_with_a_board_that_runs(
    guest: &mut Guest,
    exporter: &Exporter,
    dir: &Path,
) {
    let (mux, card) = (guest.usb("sdwire"), storage(exporter, "sdwire").await);
    let medium = guest.usb("sdwire.reader").medium();
    let power = exporter.device("power").await.unwrap().power();
    let device = exporter.device("sdwire").await.unwrap();
    let image = Image::new(dir, 31, MIB);
    let shown = image.file.display().to_string();
    guest.run(&format!(
        "mkdir -p /run/images; cp {shown} /run/images/board.img"
    ));
    let from_host = || device.call("write_file", vec![json!("/run/images/board.img")]);
    card.dut().await.unwrap();
    power.on().await.unwrap();
    let moves = positions(&mux).len();

    let dump = dir.join("refused");
    for (method, answer) in [
        ("host", card.host().await),
        ("write", image.write(&card).await),
        ("write_file", from_host().await.map(drop)),
        (
            "read",
            card.read_file(&dump, Compression::None).await.map(drop),
        ),
    ] {
        let text = refused(answer, Code::FailedPrecondition);
        let rule = format!("interlock card: sdwire.{method} needs power to be off; it is on");
        assert_eq!(text, rule);
    }
    assert_eq!(positions(&mux).len(), moves, "the mux was told something");
    assert_eq!(mux.state()["position"], json!("dut"));
    assert!(!image.is_on(&medium));
    assert_eq!(guest.run("guest-gpio get power"), "1");

    power.off().await.unwrap();
    from_host().await.unwrap();
    assert!(image.is_on(&medium));
    // The mux itself is asked where the card is.
    let text = refused(power.on().await, Code::FailedPrecondition);
    assert_eq!(
        text,
        "interlock boot: power.on needs sdwire to be dut; it is host"
    );
    assert_eq!(guest.run("guest-gpio get power"), "0");
    card.dut().await.unwrap();
    power.on().await.unwrap();
    power.off().await.unwrap();
}

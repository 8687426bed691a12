//! Cards that fail while they are read.

use std::fs;

use rigd_client::{Code, Compression};
use serde_json::{Value, json};

use crate::{
    bench::{Bench, FAULT},
    cards::{MIB, refused},
};

impl Bench {
    /// A part of a card is never told as the whole.
    pub(crate) async fn a_dump_that_breaks_off_is_an_error(&self) {
        let text = self.dump_fails(json!({"error_at": FAULT}), Code::Internal);
        let text = text.await;
        // The kernel's word for what a reader gave up to read is ENODATA, with others EIO.
        assert!(
            text.starts_with("read stopped at 5 MiB of 72 MiB: cannot read /dev/sd")
                && text.contains(" at byte 5242880: "),
            "{text}"
        );
        self.set(json!({"error_at": null}));
        let text = self.dump_fails(json!({"eject_at": FAULT}), Code::Unavailable);
        let text = text.await;
        assert!(
            text.ends_with("is gone: the card was taken out or changed"),
            "{text}"
        );
        self.set(json!({"present": true}));
        let text = self.dump_fails(json!({"unplug_at": FAULT}), Code::Unavailable);
        let text = text.await;
        // The read fails somewhere on the kernel's way to take the disk away.
        assert!(
            text.contains("is gone: ") || text.ends_with("No such device (os error 19)"),
            "{text}"
        );
        self.guest.usb("sdwire.reader").plug();

        let dump = self.dir.path().join("dump");
        self.card.dump(&dump, Compression::None).await.unwrap();
        assert!(fs::read(&dump).unwrap() == fs::read(self.medium()).unwrap());
        assert_eq!(self.guest.usb("sdwire").state()["position"], json!("dut"));
    }

    async fn dump_fails(&self, fault: Value, code: Code) -> String {
        self.set(fault);
        let dump = self.dir.path().join("part");
        let text = refused(self.card.read_file(&dump, Compression::None).await, code);
        let part = fs::read(&dump).unwrap();
        // What came before it is right, and is not all.
        assert!(part.len() <= 5 * MIB, "{} bytes", part.len());
        assert!(fs::read(self.medium()).unwrap().starts_with(&part));
        text
    }
}

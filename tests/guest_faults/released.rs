//! The released client: large images, and what it makes of a card that fails.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    bench::{Bench, FAULT},
    cards::{Image, MIB, incomplete},
    support::python::{Venv, venv},
};

impl Bench {
    /// Over USB/IP, and to a disk of QEMU's.
    pub(crate) fn large_images_come_to_the_cards_and_back(&self, disk: &Path) {
        let Some(venv) = venv() else { return };
        let dump = self.dir.path().join("dump");
        for (card, medium, size) in [("sdwire", &*self.medium(), 64), ("disk", disk, 256)] {
            let image = Image::new(self.dir.path(), size, size as usize * MIB);
            self.guest
                .flashed_and_dumped(venv, card, &image.file, &dump);
            assert!(image.is_on(medium) && image.is_on(&dump), "{card}");
            let sizes = [medium, &dump].map(|file| fs::metadata(file).unwrap().len());
            assert_eq!(sizes[0], sizes[1], "{card}");
        }
    }

    /// Its `flash` gives the card to the board whatever happened.
    pub(crate) async fn the_released_client_ends_with_the_first_cause(&self) {
        let Some(venv) = venv() else { return };
        self.set(json!({"error_at": FAULT}));
        let said = self.fails(venv, "flash", &self.image.file);
        let cause = incomplete(&self.card).await;
        assert!(
            cause.starts_with("write stopped at 4 MiB") && cause.contains("cannot write /dev/sd"),
            "{cause}"
        );
        assert!(said.contains(&cause), "{said}");
        self.the_card_stays_with(&cause).await;
        self.set(json!({"error_at": null}));
        self.the_next_write_works().await;

        self.set(json!({"error_at": FAULT}));
        let said = self.fails(venv, "dump", &self.dir.path().join("part"));
        assert!(said.contains("cannot read /dev/sd"), "{said}");
        self.set(json!({"error_at": null}));
    }

    /// What `j sdwire METHOD FILE` says; it must not end well.
    fn fails(&self, venv: &Venv, method: &str, file: &Path) -> String {
        let mut client = self.guest.released_client(venv);
        client.arg(venv.bin("j")).args(["sdwire", method]).arg(file);
        // Nothing is wrapped.
        let ended = client.env("COLUMNS", "1000").output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            ended.status.code().is_some_and(|code| code != 0),
            "{:?} {said}",
            ended.status
        );
        said
    }
}

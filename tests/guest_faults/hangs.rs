//! Cards and muxes that are slow, or do not answer.

use std::time::{Duration, Instant};

use rigd_client::{Code, ConnectOptions, Exporter};
use serde_json::json;

use crate::{
    bench::{Bench, FAULT, PROMPT},
    cards::{MIB, refused, storage},
};

impl Bench {
    pub(crate) async fn a_slow_card_holds_up_nothing_else(&self) {
        let image = self.another(11);
        // Six seconds.
        self.set(json!({"rate": 2 * MIB}));
        let writing = image.write(&self.card);
        let others = async {
            image.until_written(&self.medium(), 1).await;
            let mut slowest = Duration::ZERO;
            for _ in 0..5 {
                slowest = slowest.max(self.others().await);
            }
            let busy = refused(self.card.dut().await, Code::FailedPrecondition);
            assert!(busy.starts_with("busy: write since "), "{busy}");
            // Somebody else with another image.
            let options = ConnectOptions::default();
            let other = Exporter::connect_tcp(&self.guest.address, &options).await;
            let other = storage(&other.unwrap(), "sdwire").await;
            let busy = refused(self.image.write(&other).await, Code::FailedPrecondition);
            assert!(busy.starts_with("busy: write since "), "{busy}");
            assert!(!image.is_on(&self.medium()), "the write is over already");
            slowest
        };
        let (written, slowest) = tokio::join!(writing, others);
        written.unwrap();
        assert!(image.is_on(&self.medium()), "of two images");
        assert!(slowest < PROMPT, "{slowest:?}");
        self.set(json!({"rate": null}));
        self.card.dut().await.unwrap();
    }

    async fn a_card_that_does_not_answer(&self) {
        self.set(json!({"hang_at": FAULT}));
        let begun = Instant::now();
        let text = refused(self.image.write(&self.card).await, Code::DeadlineExceeded);
        let (place, hangs) = (
            "write stopped at 4 MiB",
            "hangs: it got no further for 20 s",
        );
        assert!(text.starts_with(place) && text.ends_with(hangs), "{text}");
        // Before the kernel gives up: that takes it three minutes.
        assert!(begun.elapsed() < Duration::from_secs(90));
        self.the_card_stays_with(&text).await;
        let slowest = self.others().await;
        assert!(slowest < PROMPT, "{slowest:?}");
        let used = refused(self.image.write(&self.card).await, Code::FailedPrecondition);
        assert!(used.starts_with("disk in use: "), "{used}");
    }

    /// The writer that was left behind lets go when the reader answers, or is pulled.
    pub(crate) async fn a_card_that_hung_is_used_again(&self) {
        let reader = self.guest.usb("sdwire.reader");
        for pulled in [false, true] {
            self.a_card_that_does_not_answer().await;
            if pulled {
                reader.unplug();
            }
            self.set(json!({"hang_at": null}));
            if pulled {
                reader.plug();
            }
            self.a_write_works_soon().await;
            self.the_next_write_works().await;
        }
    }

    pub(crate) async fn a_mux_that_does_not_answer(&self) {
        let mux = self.guest.usb("sdwire");
        mux.set(json!({"answer": "never", "only": "control"}));
        let begun = Instant::now();
        let text = refused(self.card.host().await, Code::DeadlineExceeded);
        assert!(text.ends_with("no answer in time"), "{text}");
        // The limit of a request is two seconds.
        assert!(begun.elapsed() < Duration::from_secs(60));
        let slowest = self.others().await;
        assert!(slowest < PROMPT, "{slowest:?}");
        assert_eq!(mux.state()["position"], json!("dut"));
        mux.recover();
        self.the_next_write_works().await;
    }
}

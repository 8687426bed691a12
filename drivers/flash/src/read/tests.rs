//! Reading a medium that fails as it is told to.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use super::*;
use crate::engine::tests::{
    fake::{Fake, Hang},
    noise,
};

const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);

/// Takes up to a bound, and is told then that nobody wants more.
struct Client {
    taken: Vec<u8>,
    bound: usize,
}

impl Client {
    fn new(bound: usize) -> Self {
        Self {
            taken: Vec::new(),
            bound,
        }
    }
}

impl Taker for Client {
    fn look(&mut self) -> Result<(), DriverError> {
        match self.taken.len() < self.bound {
            true => Ok(()),
            false => Err(DriverError::Cancelled("read: the caller went away".into())),
        }
    }

    fn frame(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        assert!(bytes.len() <= FRAME);
        self.taken.extend_from_slice(&bytes);
        Ok(())
    }
}

fn card(blocks: usize) -> (Vec<u8>, Arc<Fake>) {
    let held = noise(blocks * BLOCK, 3);
    let card = Fake::new(held.len(), 0);
    card.data.lock().unwrap().copy_from_slice(&held);
    (held, Arc::new(card))
}

/// Reads `card`; nobody keeps it then. Gives the error, and whether what came is its beginning.
fn fails(card: &Arc<Fake>, held: &[u8], client: &mut Client) -> DriverError {
    let error = send(card.clone(), LONG, client).unwrap_err();
    assert!(held.starts_with(&client.taken));
    assert_eq!(Arc::strong_count(card), 1, "somebody keeps the medium");
    error
}

#[test]
fn everything_is_sent_in_order() {
    let (mut held, card) = card(5);
    let mut client = Client::new(usize::MAX);
    send(card.clone(), LONG, &mut client).unwrap();
    assert!(client.taken == held);
    assert_eq!(Arc::strong_count(&card), 1, "somebody keeps the medium");
    // A card that ends within a part.
    held.truncate(2 * BLOCK + 512);
    let card = Fake::new(held.len(), 0);
    card.data.lock().unwrap().copy_from_slice(&held);
    let mut client = Client::new(usize::MAX);
    send(Arc::new(card), LONG, &mut client).unwrap();
    assert!(client.taken == held);
}

#[test]
fn a_bad_place_is_named_and_what_is_before_it_was_sent() {
    let (held, card) = card(8);
    let card = Arc::new(Fake {
        unreadable: Some(3 * BLOCK as u64 + 5),
        ..Arc::into_inner(card).unwrap()
    });
    let mut client = Client::new(usize::MAX);
    let error = fails(&card, &held, &mut client);
    assert_eq!(client.taken.len(), 3 * BLOCK);
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "read stopped at 3 MiB of 8 MiB: cannot read /dev/fake at byte 3145728: Input/output error \
         (os error 5)"
    );
}

#[test]
fn a_card_that_is_gone_is_unavailable() {
    let (held, card) = card(2);
    card.gone.store(true, Relaxed);
    let error = fails(&card, &held, &mut Client::new(usize::MAX));
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "read stopped at 0 bytes of 2 MiB: /dev/fake is gone"
    );
}

#[test]
fn a_card_that_was_put_in_since_is_not_sent_as_the_rest() {
    let (held, card) = card(2);
    card.changed.store(true, Relaxed);
    let mut client = Client::new(usize::MAX);
    let error = fails(&card, &held, &mut client);
    assert!(client.taken.is_empty());
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
}

#[test]
fn a_read_that_nobody_wants_stops_and_lets_go_of_the_card() {
    let (held, card) = card(16);
    let error = fails(&card, &held, &mut Client::new(4 * BLOCK));
    assert_eq!(
        error.to_string(),
        "read stopped at 4 MiB of 16 MiB: read: the caller went away"
    );
}

#[test]
fn a_card_that_hangs_ends_the_read_and_is_left_until_it_answers() {
    let (held, card) = card(8);
    *card.hangs.lock().unwrap() = Some(Hang::Read(2 * BLOCK as u64));
    let begun = Instant::now();
    let mut client = Client::new(usize::MAX);
    let error = send(card.clone(), SHORT, &mut client).unwrap_err();
    // Nothing is waited for a second time.
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "read stopped at 2 MiB of 8 MiB: /dev/fake hangs: it got no further for 3 s"
    );
    assert!(held.starts_with(&client.taken));
    // The reader keeps the card to itself, until it answers.
    assert_eq!(Arc::strong_count(&card), 2);
    *card.hangs.lock().unwrap() = None;
    card.answers.notify_all();
    while Arc::strong_count(&card) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        thread::yield_now();
    }
    let mut client = Client::new(usize::MAX);
    send(card, SHORT, &mut client).unwrap();
    assert!(client.taken == held);
}

#[test]
fn a_client_that_takes_long_is_not_a_card_that_hangs() {
    struct Slow(Client);
    impl Taker for Slow {
        fn look(&mut self) -> Result<(), DriverError> {
            self.0.look()
        }

        fn frame(&mut self, bytes: Bytes) -> Result<(), DriverError> {
            thread::sleep(Duration::from_millis(80));
            self.0.frame(bytes)
        }
    }
    let (held, card) = card(3);
    let mut client = Slow(Client::new(usize::MAX));
    // It takes longer than that for all of them.
    send(card, SHORT, &mut client).unwrap();
    assert!(client.0.taken == held);
}

#[test]
fn each_part_has_the_limit_anew() {
    let (held, card) = card(8);
    card.pause.store(500, Relaxed);
    let (begun, mut client) = (Instant::now(), Client::new(usize::MAX));
    send(card, SHORT, &mut client).unwrap();
    assert!(begun.elapsed() > SHORT);
    assert!(client.taken == held);
}

#[test]
fn a_sector_that_the_card_cannot_read_is_told_in_plain_words() {
    let error = std::io::Error::from_raw_os_error(61);
    let told = failed(&Fake::new(BLOCK, 0), "read", 4096, &error).to_string();
    assert_eq!(
        told,
        "cannot read /dev/fake at byte 4096: the card cannot read it: No data available (os error 61)"
    );
}

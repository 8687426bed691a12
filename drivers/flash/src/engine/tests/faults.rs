//! Media that fail: what is told, what counts as written, and what nobody writes to any more.

use super::*;

#[test]
fn an_error_of_sync_is_final() {
    let card = Arc::new(Fake::new(2 * BUFFER, 0));
    card.sync_fails.store(true, Relaxed);
    let outcome = write(&card, Pieces::of(&noise(BUFFER, 2)), Plan::default());
    assert_eq!(card.syncs.load(Relaxed), 1, "it is never tried again");
    assert_eq!(outcome.blocks.known().count(), 0);
    assert_eq!(
        error(outcome),
        "write stopped at 2 MiB of 2 MiB: cannot sync /dev/fake: Input/output error (os error 5)"
    );
}

#[test]
fn a_bad_place_is_named_and_what_was_written_before_counts() {
    let card = Arc::new(Fake {
        bad: Some(BUFFER as u64 + 5),
        ..Fake::new(4 * BUFFER, 0)
    });
    let image = noise(4 * BUFFER, 3);
    let plan = Plan {
        size: Some(image.len() as u64),
        ..Plan::default()
    };
    let outcome = write(&card, Pieces::of(&image), plan);
    assert_eq!(outcome.blocks.known().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(
        error(outcome),
        "write stopped at 2 MiB of 8 MiB: cannot write /dev/fake at byte 2097152: Input/output \
         error (os error 5)"
    );
}

#[test]
fn a_card_that_is_gone_is_unavailable() {
    let card = Arc::new(Fake::new(4 * BUFFER, 0));
    card.gone.store(true, Relaxed);
    let outcome = write(&card, Pieces::of(&noise(BUFFER, 3)), Plan::default());
    let error = outcome.result.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "write stopped at 0 bytes of 2 MiB: /dev/fake is gone"
    );
}

#[test]
fn a_card_that_hangs_ends_the_write_and_is_left_until_it_answers() {
    for (at, limits, wanted) in [
        (Hang::Write, [1, 60], "write stopped at 0 bytes of 8 MiB: "),
        (Hang::Sync, [60, 1], "write stopped at 2 MiB of 2 MiB: "),
    ] {
        let card = Arc::new(Fake::new(4 * BUFFER, 0));
        *card.hangs.lock().unwrap() = Some(at);
        let buffers = if at == Hang::Write { 4 } else { 1 };
        let image = noise(buffers * BUFFER, 8);
        let plan = || Plan {
            size: Some(image.len() as u64),
            limits,
            ..Plan::default()
        };
        let begun = std::time::Instant::now();
        let outcome = write(&card, Pieces::of(&image), plan());
        // Nothing is waited for a second time.
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!((outcome.written, outcome.blocks.known().count()), (None, 0));
        let error = outcome.result.unwrap_err();
        assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
        let text = format!("{wanted}/dev/fake hangs: it got no further for 1 s");
        assert_eq!(error.to_string(), text);
        // The writer keeps the card to itself, and goes no further than where it hung.
        assert_eq!(Arc::strong_count(&card), 2);
        *card.hangs.lock().unwrap() = None;
        card.answers.notify_all();
        while Arc::strong_count(&card) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        assert!(card.holds()[BUFFER..].iter().all(|byte| *byte == 0));
        card.taken();
        write(&card, Pieces::of(&image), plan()).result.unwrap();
        assert!(card.holds()[..image.len()] == image);
    }
}

#[test]
fn the_rest_of_an_image_never_goes_to_a_card_that_was_put_in_since() {
    for (place, told) in [(BUFFER, "4 MiB of 8 MiB"), (7 * BLOCK, "8 MiB of 8 MiB")] {
        let card = Arc::new(Fake {
            changes: Some(place as u64),
            ..Fake::new(4 * BUFFER, 0)
        });
        let image = noise(4 * BUFFER, 9);
        let plan = Plan {
            size: Some(image.len() as u64),
            verify: Some(Verify::None),
            ..Plan::default()
        };
        let text = error(write(&card, Pieces::of(&image), plan));
        let wanted = format!("write stopped at {told}: /dev/fake is gone");
        assert_eq!(text, wanted);
    }
}

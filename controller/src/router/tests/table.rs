//! The table against a model that has only lists.

use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;

use super::super::table::{Arrival, Bounds, GONE, Refused, Serial, Table};
use super::*;

const BOUNDS: Bounds = Bounds {
    of_a_lease: 2,
    in_all: 4,
};

#[derive(Debug, Clone)]
enum Event {
    Arrive {
        stream: u8,
        epoch: u64,
    },
    /// The end at this place among those that are there, or one that left before.
    Leave(usize),
    Expire(usize),
    End {
        lease: u8,
    },
    Transfer {
        lease: u8,
        epoch: u64,
    },
    Pass {
        seconds: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..9_u8, 1..3_u64).prop_map(|(stream, epoch)| Event::Arrive { stream, epoch }),
        4 => (0..64_usize).prop_map(Event::Leave),
        1 => (0..64_usize).prop_map(Event::Expire),
        1 => (0..3_u8).prop_map(|lease| Event::End { lease }),
        1 => (0..3_u8, 1..4_u64).prop_map(|(lease, epoch)| Event::Transfer { lease, epoch }),
        2 => (1..90_u64).prop_map(|seconds| Event::Pass { seconds }),
    ]
}

/// One stream as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    stream: u8,
    epoch: u64,
    serial: Serial,
    came: u8,
    there: u8,
    gone: Option<Instant>,
}

#[derive(Default)]
struct Model {
    known: Vec<Known>,
    /// Every end that ever came, by stream and serial.
    ends: Vec<(u8, Serial)>,
}

fn lease(stream: u8) -> u8 {
    stream % 3
}

impl Model {
    fn waiting(&self) -> impl Iterator<Item = &Known> {
        self.known
            .iter()
            .filter(|one| one.gone.is_none() && one.came == 1)
    }

    fn joined(&self) -> usize {
        let joined = |one: &&Known| one.gone.is_none() && one.came == 2;
        self.known.iter().filter(joined).count()
    }

    fn live(&mut self, (stream, serial): (u8, Serial)) -> Option<&mut Known> {
        let live =
            |one: &&mut Known| one.gone.is_none() && one.stream == stream && one.serial == serial;
        self.known.iter_mut().find(live)
    }

    fn arrive(&self, stream: u8, epoch: u64) -> Result<Option<Serial>, Refused> {
        let of_lease = |one: &&Known| lease(one.stream) == lease(stream);
        match self.known.iter().find(|one| one.stream == stream) {
            Some(one) if one.gone.is_some() => Err(Refused::Gone),
            Some(one) if one.epoch != epoch => Err(Refused::Other),
            Some(one) if one.came == 2 => Err(Refused::Third),
            Some(one) => Ok(Some(one.serial)),
            None if self.waiting().count() >= BOUNDS.in_all => Err(Refused::All),
            None if self.waiting().filter(of_lease).count() >= BOUNDS.of_a_lease => {
                Err(Refused::Lease)
            }
            None => Ok(None),
        }
    }
}

fn step(table: &mut Table<Serial>, model: &mut Model, now: &mut Instant, event: Event) {
    match event {
        Event::Pass { seconds } => *now += Duration::from_secs(seconds),
        Event::Arrive { stream, epoch } => {
            let gone = |one: &Known| one.gone.is_some_and(|at| *now - at >= GONE);
            model.known.retain(|one| !gone(one));
            let pass = Pass {
                stream: format!("s{stream}"),
                lease: format!("l{}", lease(stream)),
                epoch,
            };
            let expected = model.arrive(stream, epoch);
            match (table.arrive(&pass, *now, |serial| serial), expected) {
                (Arrival::First(serial), Ok(None)) => {
                    let known = Known {
                        stream,
                        epoch,
                        serial,
                        came: 1,
                        there: 1,
                        gone: None,
                    };
                    model.known.push(known);
                    model.ends.push((stream, serial));
                }
                (Arrival::Second(serial), Ok(Some(first))) => {
                    assert_eq!(serial, first);
                    let one = model.live((stream, serial)).unwrap();
                    (one.came, one.there) = (2, 2);
                    model.ends.push((stream, serial));
                }
                (Arrival::Refused(why), Err(expected)) => assert_eq!(why, expected),
                (got, expected) => panic!("{got:?} for {expected:?}"),
            }
        }
        Event::Leave(place) => {
            let Some(end) = pick(&model.ends, place) else {
                return;
            };
            let mut stays = false;
            if let Some(one) = model.live(end) {
                one.there -= 1;
                stays = one.there > 0;
                one.gone = (!stays).then_some(*now);
            }
            assert_eq!(table.leave(&format!("s{}", end.0), end.1, *now), stays);
        }
        Event::Expire(place) => {
            let Some(end) = pick(&model.ends, place) else {
                return;
            };
            let one = model.live(end).filter(|one| one.came == 1);
            let over = one.map(|one| one.gone = Some(*now)).is_some();
            assert_eq!(table.expire(&format!("s{}", end.0), end.1, *now), over);
        }
        Event::End { lease } => cut(table, model, *now, lease, Cut::Ended),
        Event::Transfer { lease, epoch } => {
            cut(table, model, *now, lease, Cut::Transferred { epoch });
        }
    }
}

fn pick(ends: &[(u8, Serial)], place: usize) -> Option<(u8, Serial)> {
    (!ends.is_empty()).then(|| ends[place % ends.len()])
}

fn cut(table: &mut Table<Serial>, model: &mut Model, now: Instant, of: u8, cut: Cut) {
    let below = match cut {
        Cut::Ended => u64::MAX,
        Cut::Transferred { epoch } => epoch,
    };
    let mut expected = Vec::new();
    for one in &mut model.known {
        if one.gone.is_none() && lease(one.stream) == of && one.epoch < below {
            one.gone = Some(now);
            expected.push(one.serial);
        }
    }
    let mut got = table.cut(&format!("l{of}"), cut, now);
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
}

proptest! {
    #[test]
    fn any_order_of_events_is_as_in_the_model(events in vec(event(), 1..120)) {
        let (mut table, mut model) = (Table::new(BOUNDS), Model::default());
        let mut now = Instant::now();
        for event in events {
            step(&mut table, &mut model, &mut now, event);
            prop_assert_eq!(table.waiting(), model.waiting().count());
            prop_assert_eq!(table.joined(), model.joined());
            prop_assert!(table.waiting() <= BOUNDS.in_all);
        }
        // When everybody has left, nothing is there, and after a while nothing is known.
        for (stream, serial) in model.ends {
            table.leave(&format!("s{stream}"), serial, now);
        }
        prop_assert!(table.is_idle());
        table.leave("none", 0, now + GONE);
        prop_assert_eq!(table.known(), 0);
    }
}

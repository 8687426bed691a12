//! Tests of what is admitted and what is refused, and how.

mod admission;
mod changes;

use tonic::{Code, Status};

use super::*;
use crate::sample::{ask, at, client, exporter, holds, request, step};

/// The clients `ci` and `dev`, the exporter `rig-1`, and `dev`'s lease `held` of it.
pub(super) fn lab() -> World {
    let mut world = World::default();
    client(&mut world, "ci", &[("team", "ci")]);
    client(&mut world, "dev", &[]);
    exporter(&mut world, "rig-1", &[("board", "rpi4")]);
    ask(&mut world, "held", "dev", request("board"), at(0));
    step(&mut world, at(0));
    assert_eq!(holds(&world, "held"), Some("rig-1"));
    world
}

pub(super) fn times(
    duration: Option<prost_types::Duration>,
    begin: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
) -> WantedTimes {
    WantedTimes {
        duration,
        begin,
        end,
    }
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: Code, text: &str) {
    let status = Status::from(result.unwrap_err());
    assert_eq!((status.code(), status.message()), (code, text));
}

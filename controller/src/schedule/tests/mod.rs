//! Tests of the schedule.

mod ends;
mod events;
mod order;
mod outcomes;
mod properties;
mod scale;

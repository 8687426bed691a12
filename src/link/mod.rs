//! The connection of an exporter to its controller and router.

mod answer;
mod backoff;
mod connect;
mod dialer;
mod identity;
mod options;
mod telemetry;
mod trust;
mod tunnel;

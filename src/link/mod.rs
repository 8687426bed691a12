//! The connection of an exporter to its controller and router.

mod telemetry;

//! Drivers that group other drivers.

mod composite;

pub use composite::{Composite, CompositeConfig};

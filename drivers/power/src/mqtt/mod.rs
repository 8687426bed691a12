//! A client for MQTT 3.1.1 that publishes words and listens to one topic: all that a power switch
//! needs of it.

mod link;
mod packet;
mod transport;

pub(crate) use link::{Account, Health, Heard, Link};
pub(crate) use transport::Place;

//! Byte streams to network peers of a board.
//!
//! Each driver has the byte stream `connect`: one connection for each stream that a client opens,
//! closed with it. Clients build port forwards, ssh, VNC and the like on top. Peers that have an
//! address tell it by `address`, so that a client in the same network can go there directly.

mod address;
mod connect;
mod echo;
mod tcp;
mod udp;
mod unix;
mod websocket;

pub use echo::{EchoConfig, EchoNetwork};
pub use tcp::{TcpConfig, TcpNetwork};
pub use udp::{UdpConfig, UdpNetwork};
pub use unix::{UnixConfig, UnixNetwork};
pub use websocket::{WebsocketConfig, WebsocketNetwork};

/// Client class path of all network peers.
pub const NETWORK_CLIENT: &str = "jumpstarter_driver_network.client.NetworkClient";

//! Addresses with too many connections.

use std::net::Ipv4Addr;

use futures::StreamExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::{
        accept,
        places::{Bounds, Places},
        site::connect_from,
    },
    *,
};

const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn connect(port: u16, from: Ipv4Addr) -> TcpStream {
    connect_from(from, (OWN, port).into()).await.unwrap()
}

/// Closed at once, and not by a deadline.
async fn is_closed(connection: &mut TcpStream) {
    let read = tokio::time::timeout(Duration::from_secs(5), connection.read(&mut [0; 1])).await;
    assert!(matches!(read.expect("stays open"), Ok(0) | Err(_)));
}

fn is_open(connection: &TcpStream) -> bool {
    let read = connection.try_read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn one_address_takes_no_places_of_others_and_a_refused_one_is_closed_at_once() {
    let site = Site::open().await;
    let listener = TcpListener::bind((OWN, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let places = Places::new(|_| Bounds { open: 5, new: 3 });
    let tls = site.certs().server_config().unwrap();
    let incoming = accept::incoming(listener, tls, CancellationToken::new(), places);
    let (begun, mut connections) = mpsc::channel(16);
    let _accepting = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut incoming = std::pin::pin!(incoming);
        while let Some(connection) = incoming.next().await {
            begun.send(connection.unwrap()).await.unwrap();
        }
    }));

    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect(port, OWN).await);
    }
    is_closed(&mut connect(port, OWN).await).await;
    assert!(silent.iter().all(is_open));

    // Another address begins meanwhile, and then has no more than its own.
    let mut held = Vec::new();
    for _ in 0..5 {
        let io = connect(port, OTHER).await;
        let mut io = site.begin(io).await.unwrap();
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        io.flush().await.unwrap();
        let connection = tokio::time::timeout(SOON, connections.recv()).await;
        held.push((io, connection.expect("begins").unwrap()));
    }
    is_closed(&mut connect(port, OTHER).await).await;

    // Whoever leaves makes room.
    held.clear();
    let io = connect(port, OTHER).await;
    site.begin(io).await.unwrap();
    drop(silent.pop());
    let waiting = async {
        loop {
            let mut next = connect(port, OWN).await;
            let quick = Duration::from_millis(100);
            let read = tokio::time::timeout(quick, next.read(&mut [0; 1])).await;
            if read.is_err() {
                break;
            }
        }
    };
    let room = tokio::time::timeout(SOON, waiting).await;
    room.expect("a place that is free again is given");
}

//! One TLS port: accepts, shakes hands, and hands the connections to a gRPC server.
//!
//! It can stop and come back at the same address; the server behind it goes on meanwhile.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpListener,
    runtime::Handle,
    sync::mpsc,
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use super::wire::{Io, Wires};

/// Connections that shook hands and wait for the server, which takes them at once.
const WAITING: usize = 16;
/// A port that was just left may still be taken by a socket that is on its way out.
const BIND_LIMIT: Duration = Duration::from_secs(5);

/// What an HTTP/1 server says to somebody who speaks TLS to it.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The connections that a port brings, for `serve_with_incoming`.
pub(super) type Incoming = mpsc::Receiver<io::Result<Secured>>;

#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    wires: Arc<Wires>,
    accepted: mpsc::Sender<io::Result<Secured>>,
    tls: Arc<ServerConfig>,
    nonsense: Arc<AtomicBool>,
    runtime: Handle,
    accepting: Mutex<Option<AbortHandle>>,
}

impl Port {
    /// A port of its own on 127.0.0.1, open at once.
    pub(super) fn open(tls: Arc<ServerConfig>, runtime: &Handle) -> (Self, Incoming) {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into());
        let (accepted, incoming) = mpsc::channel(WAITING);
        let port = Self {
            address: listener.local_addr().unwrap(),
            wires: Arc::default(),
            accepted,
            tls,
            nonsense: Arc::default(),
            runtime: runtime.clone(),
            accepting: Mutex::new(None),
        };
        port.accept(listener);
        (port, incoming)
    }

    /// With the name that the certificate carries.
    pub(super) fn endpoint(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub(super) fn number(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn wires(&self) -> &Wires {
        &self.wires
    }

    /// Whether it answers new connections with HTTP/1 instead of TLS.
    pub(super) fn talk_nonsense(&self, nonsense: bool) {
        self.nonsense.store(nonsense, SeqCst);
    }

    /// Refuses connections from now on and breaks those that exist.
    pub(super) fn stop(&self) {
        if let Some(task) = self.accepting().take() {
            task.abort();
        }
        self.wires.cut();
    }

    /// Accepts again.
    pub(super) fn start(&self) {
        if self.accepting().is_none() {
            self.accept(bind(self.address));
        }
    }

    fn accepting(&self) -> std::sync::MutexGuard<'_, Option<AbortHandle>> {
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, listener: std::net::TcpListener) {
        let _context = self.runtime.enter();
        let listener = TcpListener::from_std(listener).unwrap();
        let wires = self.wires.clone();
        let accepted = self.accepted.clone();
        let acceptor = TlsAcceptor::from(self.tls.clone());
        let nonsense = self.nonsense.clone();
        let task = self.runtime.spawn(async move {
            // Handshakes end with the port.
            let mut handshakes = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                while handshakes.try_join_next().is_some() {}
                tcp.set_nodelay(true).ok();
                let mut io = wires.adopt(tcp);
                if nonsense.load(SeqCst) {
                    handshakes.spawn(async move { drop(io.write_all(NOT_TLS).await) });
                    continue;
                }
                let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
                handshakes.spawn(async move {
                    if let Ok(stream) = acceptor.accept(io).await {
                        accepted.send(Ok(Secured(stream))).await.ok();
                    }
                });
            }
        });
        *self.accepting() = Some(task.abort_handle());
    }
}

fn bind(address: SocketAddr) -> std::net::TcpListener {
    let end = Instant::now() + BIND_LIMIT;
    loop {
        // The standard library sets SO_REUSEADDR.
        match std::net::TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true).unwrap();
                return listener;
            }
            Err(error) => assert!(Instant::now() < end, "cannot bind {address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Secured(TlsStream<Io>);

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

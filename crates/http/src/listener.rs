//! A listener that cannot be held up: bounded connections, time-outs for heads and answers, bounded
//! bodies. It is bound first and serves later, so that nothing is half-started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::UPGRADE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use crate::{ApiError, Guard, Peer};

/// What one listener allows its callers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Time for the head of a request to arrive.
    pub head_timeout: Duration,
    /// Time for an answer to be made (not for WebSockets).
    pub answer_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            body_bytes: 4 << 20,
            head_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error("{address} is in use by another program; stop it or choose another port with {option}")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The option that moves it.
        option: &'static str,
    },
    /// The system does not let us.
    #[error(
        "cannot listen on {address}: {error}; choose another address with --listen or {option}"
    )]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The option that moves it.
        option: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// An address that is ours, not served yet.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes an address; `option` is what the error tells people to change.
    pub fn bind(address: SocketAddr, option: &'static str) -> Result<Self, BindError> {
        let bound = std::net::TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        });
        bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address, option },
            _ => BindError::Refused { address, option, error },
        })
    }

    /// Where it listens (the port that the system chose, for port 0).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` behind `guard` until `stop` turns true, then lets open answers end for a
    /// second at most.
    pub async fn serve(
        self,
        routes: Router,
        guard: Guard,
        limits: Limits,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        let service = TowerToHyperService::new(finish(routes, guard, limits));
        let slots = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&socket, &slots) => accepted,
                () = stopped(&mut stop) => break,
            };
            let Some((stream, slot)) = accepted else { continue };
            let (service, stop) = (service.clone(), stop.clone());
            let peer = stream.peer_addr().ok().map(|address| Peer(address.ip().to_canonical()));
            tokio::spawn(async move {
                connection(stream, peer, service, limits, stop).await;
                drop(slot);
            });
        }
        let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(Duration::from_secs(1), slots.acquire_many(all)).await;
        Ok(())
    }
}

/// Returns when `stop` turns true, or nobody is left to turn it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next connection with its slot; `None` where accepting failed, after a pause that keeps a
/// lack of file descriptors from becoming a busy loop.
async fn accept(
    socket: &tokio::net::TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: Option<Peer>,
    service: TowerToHyperService<Router>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // An error here is the caller's (it went away, it spoke no HTTP): nothing to do about it.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Routes with everything around them: errors in our shape, the guard, body limit, time-out.
fn finish(routes: Router, guard: Guard, limits: Limits) -> Router {
    routes
        .fallback(|request: Request| async move {
            ApiError::not_found("there is no such route").with("path", request.uri().path())
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let method = request.method().as_str().to_owned();
            ApiError::method_not_allowed("this route does not know this method")
                .with("method", method)
        })
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            within(limits.answer_timeout, request, next)
        }))
        .layer(middleware::from_fn_with_state(guard, Guard::check))
}

async fn within(limit: Duration, request: Request, next: Next) -> Response {
    if request.headers().contains_key(UPGRADE) {
        return next.run(request).await;
    }
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::timeout("the answer took too long; narrow the question")
            .with("limit_ms", limit.as_millis() as u64)
            .into_response(),
    }
}

//! A listener that cannot be held up: bounded connections, time-outs for hand-shakes, heads and
//! answers, bounded bodies. It is bound first and serves later, so that nothing is half-started.
//! HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113): by ALPN under TLS, else by the preface (§3.3).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::UPGRADE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::lingering::Lingering;
use crate::{ApiError, Guard, Peer, Tls};

/// What one listener allows its callers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are taken at once; beyond it a request is answered with 429.
    pub bodies_bytes: usize,
    /// Time for a TLS hand-shake, and for the head of a request to arrive.
    pub head_timeout: Duration,
    /// Time for an answer to be made (not for WebSockets).
    pub answer_timeout: Duration,
}

/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            body_bytes: 4 << 20,
            bodies_bytes: 64 << 20,
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
    tls: Option<Tls>,
}

impl Listener {
    /// Takes an address; `option` is what the error tells people to change.
    pub fn bind(address: SocketAddr, option: &'static str) -> Result<Self, BindError> {
        let bound = std::net::TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address, tls: None })
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

    /// Speaks TLS, where there is some.
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Where it is reached, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https://" } else { "http://" };
        format!("{scheme}{}", self.address)
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
            let Some((stream, peer, slot)) = accepted else { continue };
            let (service, stop, tls) = (service.clone(), stop.clone(), self.tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => secured(stream, peer, &tls, service, limits, stop).await,
                    None => connection(stream, peer, None, service, limits, stop).await,
                }
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
) -> Option<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, address)) => Some((stream, Peer(address.ip().to_canonical()), slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// A connection under TLS. Who does not finish its hand-shake in time, or fails it, is let go.
async fn secured(
    stream: TcpStream,
    peer: Peer,
    tls: &Tls,
    service: TowerToHyperService<Router>,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    let shaken = TlsAcceptor::from(tls.current()).accept(stream);
    match tokio::time::timeout(limits.head_timeout, shaken).await {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            connection(stream, peer, Some(is_http2), service, limits, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS hand-shake failed"),
        Err(_) => tracing::debug!("a TLS hand-shake took too long"),
    }
}

/// Serves one connection to its end. `is_http2`: where that is agreed on already.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    is_http2: Option<bool>,
    service: TowerToHyperService<Router>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    match is_http2 {
        Some(true) => builder = builder.http2_only(),
        Some(false) => builder = builder.http1_only(),
        None => {}
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits.answer_timeout))
        .keep_alive_timeout(limits.head_timeout)
        .max_header_list_size(64 << 10)
        .max_concurrent_streams(STREAMS_MAX);
    let has_asked = Arc::new(AtomicBool::new(false));
    let asking = Arc::clone(&has_asked);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        asking.store(true, Relaxed);
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // The first request has a time of its own: until its preface is whole, nobody else counts.
    let first = tokio::time::sleep(limits.head_timeout);
    let mut first = std::pin::pin!(first);
    // An error here is the caller's (it went away, it spoke no HTTP): nothing to do about it.
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = first.as_mut(), if !first.is_elapsed() => {
                if !has_asked.load(Relaxed) {
                    return;
                }
            }
            () = stopped(&mut stop) => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Routes with everything around them: errors in our shape, the guard, body limit, time-out.
fn finish(routes: Router, guard: Guard, limits: Limits) -> Router {
    let room = Room {
        kibibytes: Arc::new(Semaphore::new(limits.bodies_bytes >> 10)),
        body: limits.body_bytes >> 10,
        all: limits.bodies_bytes >> 10,
    };
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
        .layer(middleware::from_fn_with_state(room, Room::check))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            within(limits.answer_timeout, request, next)
        }))
        .layer(middleware::from_fn_with_state(guard, Guard::check))
        .layer(middleware::from_fn_with_state(Lingering::of(limits), Lingering::layer))
}

/// Room for bodies. Who may not call is refused before its body is read, and so takes none for long.
#[derive(Clone)]
struct Room {
    kibibytes: Arc<Semaphore>,
    /// Of one body whose length is not told.
    body: usize,
    all: usize,
}

impl Room {
    /// Middleware: a request has its room until it is answered.
    async fn check(State(room): State<Self>, request: Request, next: Next) -> Response {
        let length = request.body().size_hint().upper();
        let length = length.map_or(room.body, |bytes| (bytes >> 10) as usize);
        let length = u32::try_from(length.min(room.all)).unwrap_or(u32::MAX);
        match room.kibibytes.try_acquire_many(length) {
            Ok(_taken) => next.run(request).await,
            Err(_) => {
                let message = "more comes at once than there is room for; try again in a second";
                ApiError::too_many(message, 1).into_response()
            }
        }
    }
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

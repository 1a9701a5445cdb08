//! Shared connections: requests of HTTP/2 and gRPC, so many streams at once over a few connections, and
//! the backend for the calls that they lead to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, client, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::backend::Delays;

/// Connections that share the streams, at most.
const CONNECTIONS_MAX: usize = 3;
/// Patience for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
const GRPC: &str = "application/grpc";

/// Sends `count` requests with the tokens `PREFIXn` for `way`, `at_once` streams at once; fails unless all
/// are answered well. A token is the user agent, and with gRPC the message.
pub fn drive(
    port: u16,
    is_grpc: bool,
    way: &str,
    prefix: &str,
    at_once: usize,
    count: usize,
) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let next = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS_MAX.min(at_once.div_ceil(4)) {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client::handshake(stream).await?;
            tokio::spawn(connection);
            senders.push(sender);
        }
        let mut clients = JoinSet::new();
        for client in 0..at_once {
            let (sender, next) = (senders[client % senders.len()].clone(), Arc::clone(&next));
            let (uri, prefix) = (format!("http://arena/arena/{way}"), prefix.to_owned());
            clients.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(());
                    }
                    let asked = ask(sender.clone(), is_grpc, &uri, format!("{prefix}{number}"));
                    tokio::time::timeout(PATIENCE, asked).await.context("no answer")??;
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client?.with_context(|| format!("{way} at {at_once}"))?;
        }
        Ok(())
    })
}

async fn ask(sender: SendRequest<Bytes>, is_grpc: bool, uri: &str, token: String) -> Result<()> {
    let mut sender = sender.ready().await?;
    let mut request = Request::builder()
        .method(if is_grpc { "POST" } else { "GET" })
        .uri(uri)
        .header("user-agent", &token);
    if is_grpc {
        request = request.header("content-type", GRPC).header("te", "trailers");
    }
    let (answer, mut body) = sender.send_request(request.body(())?, !is_grpc)?;
    if is_grpc {
        body.send_data(message(token.as_bytes()), true)?;
    }
    let answer = answer.await?;
    if answer.status() != 200 {
        bail!("answered {}", answer.status());
    }
    let status = answer.headers().get("grpc-status").cloned();
    let trailers = drain(answer.into_body()).await?;
    let status = status.or_else(|| trailers?.get("grpc-status").cloned());
    if is_grpc && status.as_ref().is_none_or(|status| status != "0") {
        bail!("answered with status {status:?}");
    }
    Ok(())
}

/// A message of gRPC: not compressed, its length, its bytes.
fn message(body: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(body.len() as u32);
    message.put_slice(body);
    message.freeze()
}

async fn drain(mut body: RecvStream) -> Result<Option<HeaderMap>> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(body.trailers().await?)
}

/// Answers calls of both kinds after a random while, until it is dropped.
pub fn backend(port: u16) -> Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime
        .block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))))
        .context("the port of the shared backend")?;
    runtime.spawn(async move {
        let delays = Delays::default();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            tokio::spawn(serve(stream, delays.clone()));
        }
    });
    Ok(runtime)
}

/// A connection that breaks is its client's affair.
async fn serve(stream: TcpStream, delays: Delays) -> Result<()> {
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let delay = delays.next();
        tokio::spawn(async move {
            let is_grpc = request.headers().contains_key("te");
            drain(request.into_body()).await?;
            tokio::time::sleep(delay).await;
            answer(respond, is_grpc)
        });
    }
    Ok(())
}

fn answer(mut respond: SendResponse<Bytes>, is_grpc: bool) -> Result<()> {
    let mut response = Response::new(());
    if !is_grpc {
        let mut body = respond.send_response(response, false)?;
        return Ok(body.send_data(Bytes::from_static(b"done"), true)?);
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static(GRPC));
    let mut body = respond.send_response(response, false)?;
    body.send_data(message(b"done"), false)?;
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    Ok(body.send_trailers(trailers)?)
}

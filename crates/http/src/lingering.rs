//! Reads to its end what an answer did not wait for. Who is refused while it still sends (413, 401)
//! often looks for the answer only after all is sent; were the connection closed before, the
//! kernel's reset would overtake the answer (RFC 9112 §9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use crate::Limits;

/// How much longer than the answer a caller may send.
#[derive(Clone, Copy)]
pub(crate) struct Lingering {
    bytes: usize,
    time: Duration,
}

impl Lingering {
    pub(crate) fn of(limits: Limits) -> Self {
        Self { bytes: limits.bodies_bytes, time: limits.head_timeout }
    }

    /// Middleware, around everything that may answer.
    pub(crate) async fn layer(State(limit): State<Self>, request: Request, next: Next) -> Response {
        let request = request.map(|body| match body.is_end_stream() {
            true => body,
            false => Body::new(Read { body, limit, is_at_its_end: false }),
        });
        next.run(request).await
    }
}

/// A body that is read on in the background when whoever asked for it had enough.
struct Read {
    body: Body,
    limit: Lingering,
    is_at_its_end: bool,
}

impl HttpBody for Read {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.is_at_its_end |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled.map_err(|error| error.into_inner())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        let is_whole = self.is_at_its_end || self.body.is_end_stream();
        // Without a runtime the connection ends as well, with whoever served it.
        if let (false, Ok(runtime)) = (is_whole, tokio::runtime::Handle::try_current()) {
            let (body, limit) = (std::mem::take(&mut self.body), self.limit);
            runtime.spawn(tokio::time::timeout(limit.time, read_on(body, limit.bytes)));
        }
    }
}

async fn read_on(mut body: Body, mut left: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

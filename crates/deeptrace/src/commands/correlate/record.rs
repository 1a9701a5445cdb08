//! A line of the spans file.

use std::borrow::Cow;

use anyhow::{Result, bail};
use deeptrace_correlate::{Observation, Side};
use deeptrace_model::{hash_bytes, hash64};
use serde::Deserialize;

use super::tokens;

/// One span as written; absent means not known.
#[derive(Deserialize)]
pub struct Record<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub svc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
    pid: Option<i64>,
    tid: Option<i64>,
    tid2: Option<i64>,
    #[serde(borrow)]
    comp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub start: i64,
    pub end: i64,
    #[serde(borrow)]
    ep: Option<Cow<'a, str>>,
    #[serde(borrow)]
    peer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    lip: Option<Cow<'a, str>>,
    lport: Option<u32>,
    #[serde(borrow)]
    rip: Option<Cow<'a, str>>,
    rport: Option<u32>,
    conn: Option<u64>,
    #[serde(borrow)]
    req: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resp: Option<Cow<'a, str>>,
    xid: Option<u64>,
    ctx: Option<u64>,
    ctx2: Option<u64>,
}

/// What of a span may be used.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Threads and contexts.
    pub units: bool,
    /// Values in payloads.
    pub tokens: bool,
    /// Ids of tracers in payloads.
    pub carried: bool,
}

impl Record<'_> {
    /// Spans of one process share it.
    pub fn process(&self) -> u64 {
        let pid = self.pid.map_or(0, |pid| pid as u64 ^ 1 << 63);
        hash64(&[text(&self.svc), text(&self.host), pid])
    }

    /// Hash of the service, as an [`Observation`] has it of its peer.
    pub fn service(&self) -> u64 {
        text(&self.svc)
    }

    /// Whether the process served the request, or sent it.
    pub fn side(&self) -> Result<Side> {
        match &*self.kind {
            "S" => Ok(Side::Served),
            "C" => Ok(Side::Sent),
            other => bail!("kind is \"S\" or \"C\", not \"{other}\""),
        }
    }

    /// What an algorithm may see of it.
    pub fn observation(&self, features: Features) -> Result<Observation> {
        let process = self.process();
        let unit = |context: Option<u64>, thread: Option<i64>| {
            let context = context.map(|context| hash64(&[1, context]));
            context.or(thread.map(|thread| hash64(&[2, thread as u64]))).filter(|_| features.units)
        };
        let (ctx2, tid2) = (self.ctx2.or(self.ctx), self.tid2.or(self.tid));
        let peer = text(&self.peer);
        let endpoint = self.ep.as_deref().map_or(0, shape);
        let mut found = tokens::Found::default();
        if features.tokens || features.carried {
            for payload in [&self.req, &self.resp].into_iter().flatten() {
                found.read(payload);
            }
        }
        Ok(Observation {
            id: self.id,
            process,
            side: self.side()?,
            start: self.start,
            end: self.end.max(self.start),
            class: hash64(&[text(&self.comp), endpoint, peer]),
            peer,
            units: [unit(self.ctx, self.tid), unit(ctx2, tid2)],
            exchange: self.xid,
            addresses: self.addresses(),
            in_turn: self.in_turn(process),
            tokens: found.hashes(features.tokens, features.carried),
            known: None,
        })
    }

    /// The pair of addresses, the same from both sides.
    fn addresses(&self) -> Option<u64> {
        let end = |address: &Option<Cow<'_, str>>, port: Option<u32>| {
            Some(hash64(&[hash_bytes(address.as_ref()?.as_bytes()), port?.into()]))
        };
        let (own, other) = (end(&self.lip, self.lport)?, end(&self.rip, self.rport)?);
        Some(hash64(&[own.min(other), own.max(other)]))
    }

    /// The connection, if it carries one exchange at a time (RFC 9112 §9.3.2, without pipelining).
    fn in_turn(&self, process: u64) -> Option<u64> {
        let is_in_turn = self.comp.as_deref() == Some("http1");
        let connection = self.conn.or_else(|| self.addresses()).filter(|_| is_in_turn)?;
        Some(hash64(&[process, connection, u64::from(&*self.kind == "S")]))
    }
}

fn text(text: &Option<Cow<'_, str>>) -> u64 {
    text.as_ref().map_or(0, |text| hash_bytes(text.as_bytes()))
}

/// An endpoint with its numbers taken out, so that `/users/17` and `/users/18` are one.
fn shape(endpoint: &str) -> u64 {
    let is_number = |part: &str| {
        part.len() > 8 && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            || !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
    };
    let path = endpoint.split(['?', '#']).next().unwrap_or_default();
    let parts =
        path.split('/').map(|part| if is_number(part) { 1 } else { hash_bytes(part.as_bytes()) });
    hash64(&parts.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_paths_do_not_matter() {
        assert_eq!(shape("GET /users/17"), shape("GET /users/18?x=1"));
        assert_ne!(shape("GET /users/17"), shape("GET /users"));
    }
}

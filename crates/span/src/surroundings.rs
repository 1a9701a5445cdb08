//! Surroundings: where a span happened (network, process, container, host), made once for all spans
//! of a connection that agree in it.

use std::borrow::Cow;
use std::sync::Arc;

use deeptrace_model::{
    Attribute, AttributeSet, Attributes, Host, Pid, ProcessKey, SpanKind, Transport, Value,
};

use crate::connection::Ends;
use crate::processes::Known;

/// Names that a message may tell itself, and better: the first of each pair is text.
const TOLD: [&str; 8] = [
    "network.peer.address",
    "network.peer.port",
    "network.local.address",
    "network.local.port",
    "server.address",
    "server.port",
    "client.address",
    "client.port",
];

/// The last surroundings of a connection, with what they depend on.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    last: Option<(Case, Arc<AttributeSet>)>,
    /// Sets that told, and what: messages that repeat share them.
    told: Option<(Arc<AttributeSet>, Option<Arc<AttributeSet>>, u8)>,
}

/// What surroundings depend on, beside the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    is_client: bool,
    pid: Pid,
    process: Option<ProcessKey>,
    /// One bit for each name of [`TOLD`] that the messages told.
    told: u8,
}

impl Surroundings {
    /// Adds them to the `attributes` of a span.
    pub fn add(
        &mut self,
        attributes: &mut Attributes,
        (kind, pid): (SpanKind, Pid),
        ends: &Ends,
        process: Option<&Known>,
        host: &Host,
    ) {
        let case = Case {
            is_client: matches!(kind, SpanKind::Client | SpanKind::Producer),
            pid,
            process: process.map(|known| known.process.key),
            told: self.told(attributes),
        };
        if let Some((last, set)) = &self.last
            && *last == case
        {
            return attributes.share_new(set);
        }
        let set = Arc::new(AttributeSet::from(case.attributes(ends, process, host)));
        attributes.share_new(&set);
        self.last = Some((case, set));
    }

    fn told(&mut self, attributes: &Attributes) -> u8 {
        let told = || {
            let bit = |(at, name): (usize, &&str)| u8::from(attributes.get(name).is_some()) << at;
            TOLD.iter().enumerate().map(bit).sum()
        };
        let mut shared = attributes.shared();
        let (Some(first), second) = (shared.next(), shared.next()) else { return told() };
        if !attributes.own().is_empty() || shared.next().is_some() {
            return told();
        }
        let is_same = |one: Option<&Arc<AttributeSet>>, other: Option<&Arc<AttributeSet>>| {
            one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
        };
        if let Some((one, other, told)) = &self.told
            && is_same(Some(one), Some(first))
            && is_same(other.as_ref(), second)
        {
            return *told;
        }
        let told = told();
        self.told = Some((Arc::clone(first), second.cloned(), told));
        told
    }
}

impl Case {
    fn attributes(self, ends: &Ends, process: Option<&Known>, host: &Host) -> Vec<Attribute> {
        let mut all: Vec<Attribute> = Vec::with_capacity(16);
        let transport = match ends.transport {
            Some(Transport::Tcp) => Some("tcp"),
            Some(Transport::Udp) => Some("udp"),
            Some(Transport::UnixStream | Transport::UnixDatagram) => Some("unix"),
            None => None,
        };
        all.extend(transport.map(|it| (Cow::Borrowed("network.transport"), Value::from(it))));
        let (peer, local) = (ends.remote.told(), ends.local.told());
        self.end(&mut all, 0, peer);
        self.end(&mut all, 2, local);
        if self.is_client {
            self.end(&mut all, 4, peer);
        } else {
            self.end(&mut all, 4, local);
            self.end(&mut all, 6, peer);
        }
        all.push((Cow::Borrowed("process.pid"), Value::Int(i64::from(self.pid.0))));
        if let Some(container) = process.and_then(|known| known.process.container_id.as_ref()) {
            all.push((Cow::Borrowed("container.id"), Value::from(container.clone())));
        }
        if !host.name.is_empty() {
            all.push((Cow::Borrowed("host.name"), Value::from(host.name.clone())));
        }
        all
    }

    /// Address and port under the names at `at`, unless the messages told them.
    fn end(self, all: &mut Vec<Attribute>, at: usize, (address, port): (&str, u16)) {
        let is_told = |at: usize| self.told >> at & 1 == 1;
        if !address.is_empty() && !is_told(at) {
            all.push((Cow::Borrowed(TOLD[at]), Value::from(address.to_owned())));
        }
        // The port of a named host that names none is the port that was really used.
        if port != 0 && !is_told(at + 1) {
            all.push((Cow::Borrowed(TOLD[at + 1]), Value::Int(i64::from(port))));
        }
    }
}

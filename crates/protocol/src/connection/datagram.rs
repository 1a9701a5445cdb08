//! Datagrams: each call is whole, and recognised by itself.

use std::net::SocketAddr;

use deeptrace_model::{Call, Direction, Event, MessageRole, Touch, hash_bytes};

use super::speaker::Speaker;
use super::{Connection, Stage};
use crate::open_message::{OpenMessage, Who};
use crate::recognition::{Question, ask, ask_row};
use crate::{Draft, Input, Side, Verdict};

impl Connection {
    /// A datagram. Which side sent it is asked each time: a name server asks others on the socket
    /// on which it is asked.
    pub(crate) fn datagram(&mut self, event: &Event<'_>, call: &Call<'_>, stage: &mut Stage<'_>) {
        let half = &mut self.halves[call.direction as usize];
        if call.direction == Direction::Received {
            self.tells_peers = call.peer.is_some();
        }
        let missing = half.next.map_or(0, |next| call.start.saturating_sub(next));
        half.next = Some(call.start.saturating_add(1));
        if missing > 0 {
            stage.counters.gaps += 1;
            half.lost_events = half.lost_events.saturating_add(missing.min(1 << 30) as u32);
        }
        let bytes = &call.payload[..call.payload.len().min(call.len as usize)];
        if bytes.is_empty() || !self.worth_asking() {
            return;
        }
        let Some(from) = self.side_of(bytes, call, stage) else { return };
        let touch = Touch {
            event: event.id,
            time: event.time,
            pid: call.pid,
            tid: call.tid,
            unit: call.unit,
        };
        self.parse_datagram(bytes, from, touch, call, stage);
    }

    /// Who sent these bytes, if they are of a known protocol.
    fn side_of(&mut self, bytes: &[u8], call: &Call<'_>, stage: &mut Stage<'_>) -> Option<Side> {
        let question = Question {
            bytes,
            call_len: call.len as usize,
            transport: self.transport,
            from: None,
            server_port: self.server_port,
            rejected: 0,
        };
        let known = self.speaker.as_ref().map(|speaker| speaker.row);
        let own = known.and_then(|row| ask_row(stage.rows.table, row, &question));
        if let Some(guess) = own {
            return Some(guess.from);
        }
        let guess = ask(stage.rows, &question)?;
        // A guess that is not sure must be a whole message, and takes nobody's place.
        if known.is_some() && !guess.sure {
            return None;
        }
        self.speaker = Some(Speaker::sure(guess.row, stage.rows.parser(guess.row)?));
        self.know(stage);
        Some(guess.from)
    }

    fn parse_datagram(
        &mut self,
        bytes: &[u8],
        from: Side,
        touch: Touch,
        call: &Call<'_>,
        stage: &mut Stage<'_>,
    ) {
        let Some(speaker) = &mut self.speaker else { return };
        let who = Who {
            protocol: stage.rows.name(speaker.row),
            connection: self.id,
            direction: call.direction,
            boot: stage.boot,
            payload_max: stage.options.max_payload_size,
        };
        let half = &mut self.halves[call.direction as usize];
        let unseen = u64::from(call.len) - bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            match speaker.parser.parse(Input { bytes: rest, from, is_last: true }) {
                Verdict::Done { len, mut draft } if len > 0 => {
                    let taken = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
                    let lost = std::mem::take(&mut half.lost_events);
                    let mut message = OpenMessage::new(0, (call.start, call.start), touch, lost);
                    let len = len.min(rest.len() as u64 + unseen);
                    message.truncated = unseen > 0;
                    stage.counters.messages += 1;
                    // Capture may not know who sent what is received: then the answers to it must
                    // do without the peer as well. Who asks chooses the ids of its own socket.
                    let is_asked = (call.direction == Direction::Received)
                        == (draft.role == MessageRole::Request);
                    address(&mut draft, call.peer, is_asked && self.tells_peers);
                    let seen = &rest[..taken];
                    let message = message.finish_whole(seen, len, draft, &who, stage.payloads);
                    stage.out.messages.push(message);
                    rest = &rest[taken..];
                }
                Verdict::Skip(len) if len > 0 => {
                    rest = &rest[rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))..];
                }
                _ => {
                    stage.counters.bad_datagrams += 1;
                    return;
                }
            }
        }
    }
}

/// Where one socket talks with many peers, the peer is an attribute and, if `in_key`, part of the
/// stream's key.
fn address(draft: &mut Draft, peer: Option<SocketAddr>, in_key: bool) {
    if let Some(peer) = peer {
        if in_key {
            draft.stream = draft.stream & 0xffff_ffff | peer_hash(peer) << 32;
        }
        let address = peer.ip().to_canonical().to_string();
        draft.attributes.push(("network.peer.address".into(), address.into()));
        draft.attributes.push(("network.peer.port".into(), i64::from(peer.port()).into()));
    }
}

/// 32 bits that name a peer on its socket, never zero.
fn peer_hash(peer: SocketAddr) -> u64 {
    let mut bytes = [0; 18];
    let ip = match peer.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    };
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&peer.port().to_be_bytes());
    (hash_bytes(&bytes) & 0xffff_ffff).max(1)
}

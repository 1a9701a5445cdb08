//! Plaintext: what a TLS library gave of a connection, as a stream of its own beside the records.

use deeptrace_model::{Attribute, Event, Message, MessageRole, Plaintext};

use super::{Connection, Stage};
use crate::tls;

/// What a hand-shake tells of all that follows, in OpenTelemetry's names.
const TOLD: [&str; 4] =
    ["tls.protocol.version", "tls.cipher", "tls.next_protocol", "tls.client.server_name"];

impl Connection {
    /// A TLS library encrypted or decrypted bytes of this connection.
    pub(crate) fn plaintext(
        &mut self,
        event: &Event<'_>,
        plain: &Plaintext<'_>,
        stage: &mut Stage<'_>,
    ) {
        if self.plaintext.is_none() {
            let is_whole = plain.call.start < Plaintext::UNSEEN;
            self.plaintext = Some(Box::new(self.under_tls(is_whole)));
        }
        let Some(inner) = &mut self.plaintext else { return };
        let half = &mut inner.halves[plain.call.direction as usize];
        half.note_record(plain.call.start, plain.position);
        let before = stage.out.messages.len();
        inner.call(event, &plain.call, stage);
        self.say_tls(before, stage);
    }

    /// Lets `act` work on the plaintext.
    pub(super) fn on_plaintext(
        &mut self,
        stage: &mut Stage<'_>,
        act: impl FnOnce(&mut Connection, &mut Stage<'_>),
    ) {
        let Some(inner) = &mut self.plaintext else { return };
        let before = stage.out.messages.len();
        act(inner, stage);
        self.say_tls(before, stage);
    }

    /// Remembers what a hand-shake told, if one of these is of it, for what is said under it.
    pub(super) fn note_handshake(&mut self, messages: &[Box<Message>]) {
        let of_tls = messages.iter().filter(|message| message.protocol == tls::PROTOCOL.name);
        for message in of_tls {
            for (name, value) in message.attributes.iter() {
                if TOLD.contains(&name.as_ref()) {
                    self.tls.retain(|known| known.0 != *name);
                    self.tls.push((name.clone(), value.clone()));
                }
            }
        }
    }

    /// Says of messages under TLS that they are: those of one request and its response are merged.
    fn say_tls(&self, from: usize, stage: &mut Stage<'_>) {
        let is_first = |message: &&mut Box<Message>| message.role != MessageRole::Response;
        for message in stage.out.messages[from..].iter_mut().filter(is_first) {
            let attributes = &mut message.attributes;
            if attributes.get("url.scheme").is_some() {
                attributes.set("url.scheme".into(), "https".into());
            }
            let named: Attribute = ("tls.protocol.name".into(), "tls".into());
            for (name, value) in self.tls.iter().chain([&named]) {
                attributes.set(name.clone(), value.clone());
            }
        }
    }

    /// The protocol that is spoken under TLS, once known.
    pub(crate) fn plaintext_row(&self) -> Option<usize> {
        self.plaintext.as_ref().and_then(|inner| inner.row())
    }

    /// A stream, from its beginning if that `is_whole`.
    fn under_tls(&self, is_whole: bool) -> Connection {
        let mut inner = Self::unknown(self.id, self.transport);
        inner.is_plaintext = true;
        inner.origin_side = self.origin_side;
        inner.client = self.origin_side.map(super::client_direction);
        inner.server_port = self.server_port;
        for half in &mut inner.halves {
            half.next = Some(if is_whole { 0 } else { Plaintext::UNSEEN });
            half.fresh = is_whole;
        }
        inner
    }
}

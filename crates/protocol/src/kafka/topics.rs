//! Topics: names, and the ids that stand for them in new versions (KIP-516), as `Metadata` told.

use std::collections::HashMap;

use super::cursor::Cursor;

/// Topics of one connection whose ids are remembered.
const KNOWN_MAX: usize = 1024;
/// `Topic.MAX_NAME_LENGTH` of the broker.
const NAME_MAX: usize = 249;

#[derive(Debug, Default)]
pub(super) struct Topics {
    names: HashMap<[u8; 16], String>,
    /// The one topic of the fetch session, if it is known and has but one.
    fetched: Option<String>,
}

/// What a fetch does to its session (KIP-227).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Session {
    /// It is in none.
    #[default]
    None,
    /// It begins one, or changes it beyond what is followed, with this topic if it has but one.
    New(Option<String>),
    /// It goes on, with news of this topic.
    Adds(Option<String>),
    /// It goes on.
    Same,
}

impl Session {
    /// The one topic that is fetched after this.
    pub(super) fn topic(&self, topics: &Topics) -> Option<String> {
        let known = topics.fetched.as_ref();
        match self {
            Self::None | Self::New(_) => None,
            Self::Adds(topic) => known.filter(|known| topic.as_ref() == Some(known)).cloned(),
            Self::Same => known.cloned(),
        }
    }
}

/// How a message calls a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Known(String),
    /// By an id that was told before the agent came, or on another connection.
    Unknown,
    /// No topic has such a name.
    Impossible,
}

impl Topics {
    /// Reads a name or an id.
    pub(super) fn read(&self, cursor: &mut Cursor<'_>, is_id: bool) -> Option<Name> {
        if is_id {
            let id = cursor.uuid()?;
            return Some(self.names.get(&id).cloned().map_or(Name::Unknown, Name::Known));
        }
        let name = cursor.string()?;
        let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let text = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        Some(match text.filter(|_| name.len() <= NAME_MAX && name.iter().all(is_legal)) {
            Some(name) => Name::Known(name.to_owned()),
            None => Name::Impossible,
        })
    }

    /// A fetch is under way.
    pub(super) fn fetch(&mut self, session: Session) {
        match session {
            Session::New(topic) => self.fetched = topic,
            Session::Adds(_) => self.fetched = session.topic(self),
            Session::None | Session::Same => {}
        }
    }

    /// Requests are lost, perhaps such as change the session.
    pub(super) fn lost(&mut self) {
        self.fetched = None;
    }

    /// `Metadata` told what a topic is called. When full, what is new stays unknown.
    pub(super) fn learn(&mut self, id: [u8; 16], name: &str) {
        if id != [0; 16] && (self.names.len() < KNOWN_MAX || self.names.contains_key(&id)) {
            self.names.insert(id, name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_names_are_checked() {
        let mut topics = Topics::default();
        for number in 1..=2 * KNOWN_MAX as u128 {
            topics.learn(number.to_be_bytes(), "orders");
        }
        assert_eq!(topics.names.len(), KNOWN_MAX);
        let read = |bytes: &[u8], is_id| topics.read(&mut Cursor::new(bytes, false), is_id);
        assert_eq!(read(&1u128.to_be_bytes(), true), Some(Name::Known("orders".into())));
        assert_eq!(read(&[0xff; 16], true), Some(Name::Unknown));
        assert_eq!(read(b"\0\x03a b", false), Some(Name::Impossible));
        assert_eq!(read(b"\0\0", false), Some(Name::Impossible));
        assert_eq!(read(b"\0\x03a", false), None);
    }
}

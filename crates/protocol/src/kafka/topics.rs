//! Topics: names, and the ids that stand for them in new versions (KIP-516), as `Metadata` told.

use super::cursor::Cursor;
use crate::SharedNames;

/// `Topic.MAX_NAME_LENGTH` of the broker.
const NAME_MAX: usize = 249;

#[derive(Debug, Default)]
pub(super) struct Topics {
    /// Shared with other connections: clients ask one broker for names, and all for records.
    names: Option<SharedNames>,
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
    /// By an id whose name was told before the agent came.
    Unknown(u128),
    /// No topic has such a name.
    Impossible,
}

impl Topics {
    /// Reads a name or an id.
    pub(super) fn read(&self, cursor: &mut Cursor<'_>, is_id: bool) -> Option<Name> {
        if is_id {
            let id = u128::from_be_bytes(cursor.uuid()?);
            let known = self.names.as_ref().and_then(|names| names.name(id));
            return Some(known.map_or(Name::Unknown(id), |name| Name::Known(name.to_string())));
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

    /// Names that other connections tell.
    pub(super) fn share(&mut self, names: &SharedNames) {
        self.names = Some(names.clone());
    }

    /// `Metadata` told what a topic is called.
    pub(super) fn learn(&mut self, id: [u8; 16], name: &str) {
        if id != [0; 16] && !name.is_empty() && name.len() <= NAME_MAX {
            self.names.get_or_insert_default().learn(u128::from_be_bytes(id), name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_elsewhere_and_names_are_checked() {
        let names = SharedNames::default();
        let (mut told, mut topics) = (Topics::default(), Topics::default());
        told.share(&names);
        topics.share(&names);
        told.learn(1u128.to_be_bytes(), "orders");
        told.learn([0; 16], "none has this id");
        let read = |bytes: &[u8], is_id| topics.read(&mut Cursor::new(bytes, false), is_id);
        assert_eq!(read(&1u128.to_be_bytes(), true), Some(Name::Known("orders".into())));
        assert_eq!(read(&[0xff; 16], true), Some(Name::Unknown(u128::MAX)));
        assert_eq!(read(&[0; 16], true), Some(Name::Unknown(0)));
        assert_eq!(read(b"\0\x03a b", false), Some(Name::Impossible));
        assert_eq!(read(b"\0\0", false), Some(Name::Impossible));
        assert_eq!(read(b"\0\x03a", false), None);
    }
}

//! Topics by the ids that the client gave its producers or consumers.

use std::collections::BTreeMap;

/// Ids that are remembered, and bytes of each topic.
const TOPICS_MAX: usize = 1024;
const TOPIC_LEN_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Topics {
    names: BTreeMap<u64, Vec<u8>>,
}

impl Topics {
    pub(super) fn name(&mut self, id: u64, topic: &[u8]) {
        self.names.remove(&id);
        if self.names.len() >= TOPICS_MAX {
            self.names.pop_first();
        }
        if topic.len() <= TOPIC_LEN_MAX {
            self.names.insert(id, topic.to_vec());
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&[u8]> {
        self.names.get(&id).map(Vec::as_slice)
    }
}

/// A topic and the number of its partition: `…-partition-3`.
pub(super) fn partition(topic: &[u8]) -> (&[u8], Option<&[u8]>) {
    const MARK: &[u8] = b"-partition-";
    match memchr::memmem::rfind(topic, MARK) {
        Some(at) => {
            let number = &topic[at + MARK.len()..];
            let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
            if is_number { (&topic[..at], Some(number)) } else { (topic, None) }
        }
        None => (topic, None),
    }
}

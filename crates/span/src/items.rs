//! Items: what was put into queues on this host, so that who takes it is linked to who put it.
//!
//! Bias: an item that two spans put, as when it is sent again, is linked to neither.

use deeptrace_bounded::Bounded;
use deeptrace_model::{
    Attributes, BootTime, Direction, ItemKey, LINKED_SPANS, LINKED_TIME, Message, SpanId, Value,
};

/// Items that are remembered. Beyond, one that was not taken lately makes room.
const ITEMS_MAX: usize = 65_536;

/// What was put, and not yet forgotten.
#[derive(Debug)]
pub(crate) struct Items {
    /// `None` where several spans put the same.
    put: Bounded<ItemKey, Option<Put>>,
    /// Items that made room because there were too many.
    pub shed: u64,
    /// Items that were taken and of which nobody is known to have put them.
    pub unknown: u64,
}

#[derive(Clone, Copy, Debug)]
struct Put {
    span: SpanId,
    time: BootTime,
}

impl Default for Items {
    fn default() -> Self {
        Self { put: Bounded::new(ITEMS_MAX), shed: 0, unknown: 0 }
    }
}

impl Items {
    /// A message was sent, perhaps with items.
    pub fn put(&mut self, message: &Message) {
        if message.direction != Direction::Sent {
            return;
        }
        for item in &message.items {
            let put = Put { span: message.span, time: message.last.time };
            match self.put.get_mut(*item) {
                Some(known) => *known = known.filter(|known| known.span == put.span),
                None => self.shed += u64::from(self.put.insert(*item, Some(put)).is_some()),
            }
        }
    }

    /// A message was received, perhaps with items: adds the spans that put them.
    pub fn take(&mut self, message: &Message, attributes: &mut Attributes) {
        if message.items.is_empty() || message.direction != Direction::Received {
            return;
        }
        let mut spans: Vec<SpanId> = Vec::new();
        let mut oldest: Option<BootTime> = None;
        for item in &message.items {
            let known = self.put.touch(*item).then(|| self.put.touched()).flatten();
            let Some(put) = known.and_then(|known| *known) else {
                self.unknown += 1;
                continue;
            };
            oldest = Some(oldest.map_or(put.time, |oldest| oldest.min(put.time)));
            if !spans.contains(&put.span) {
                spans.push(put.span);
            }
        }
        if let Some(oldest) = oldest {
            let waited = i64::try_from(message.last.time.since(oldest).0).unwrap_or(i64::MAX);
            let spans = spans.iter().map(ToString::to_string).collect();
            attributes.set(LINKED_SPANS.into(), Value::Texts(spans));
            attributes.set(LINKED_TIME.into(), waited.into());
        }
    }
}

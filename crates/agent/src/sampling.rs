//! Sampling: whole traces are kept, or nothing of them, on every host. Between the pipeline and the sink, so
//! that what is dropped costs no bytes on the wire and nothing at the server.
//!
//! Which traces: [`Sampling`]. Where spans wait for that: [`room`]. What agents tell each other: [`Relay`]. While
//! every trace is kept, batches pass as they are.

mod fragment;
mod rates;
mod recent;
mod relay;
mod room;

use deeptrace_model::{BootTime, Clock, Duration, Gap, GapCause};

pub use rates::Sampling;
pub use relay::{Alone, Reach, Relay};

use crate::sink::Batch;
use room::Room;

/// Spans that are kept wait for company, because small batches are dear: at most so many …
const TOGETHER_MAX: usize = 4096;
/// … and for so long.
const TOGETHER: Duration = Duration::from_secs(2);

/// Lets traces pass that are kept.
pub struct Sampler {
    sampling: Sampling,
    relay: Box<dyn Relay>,
    /// `None` while every trace is kept.
    room: Option<Room>,
    passed: BootTime,
    published: BootTime,
}

impl Sampler {
    /// `link_wait` is the pipeline's: when links come at the latest.
    pub fn new(sampling: Sampling, link_wait: Duration, relay: Box<dyn Relay>) -> Self {
        let room = (!sampling.keeps_all()).then(|| Room::new(sampling.clone(), link_wait));
        Self { sampling, relay, room, passed: BootTime(0), published: BootTime(0) }
    }

    /// Other rates from now on. What waits is kept when all is kept from now on.
    pub fn set(&mut self, sampling: &Sampling, link_wait: Duration, clock: Clock, out: &mut Batch) {
        match &mut self.room {
            Some(room) if sampling.keeps_all() => {
                room.open(clock);
                move_into(out, room.ready());
                self.room = None;
            }
            Some(room) => room.set(sampling.clone(), link_wait),
            None if sampling.keeps_all() => {}
            None => self.room = Some(Room::new(sampling.clone(), link_wait)),
        }
        if *sampling != self.sampling {
            // Parts of traces that are under way went by the old rates, and agents change one after the other.
            let around =
                Duration(sampling.wait.max(self.sampling.wait).0.saturating_add(TOGETHER.0));
            let (from, to) = (clock.wall.minus(around), clock.wall.plus(around));
            out.gaps.push(Gap { from, to, cause: GapCause::SampledOut, events: 0, bytes: 0 });
            self.sampling = sampling.clone();
        }
    }

    /// Whether there is nothing to do but to hand batches on.
    pub fn keeps_all(&self) -> bool {
        self.room.is_none()
    }

    /// Takes what was finished out of `batch`, and puts in what may go on. To be called a few times a second, also
    /// with nothing.
    pub fn pass(&mut self, batch: &mut Batch, clock: Clock) {
        let Some(room) = &mut self.room else {
            // Nobody asks where traces begin.
            return batch.roots.clear();
        };
        let reach = take(room, &mut *self.relay, batch, clock);
        let is_time = clock.boot.since(self.published) >= room.publish_every();
        if reach != Reach::Apart && is_time && !room.publish().is_empty() {
            self.published = clock.boot;
            self.relay.publish(room.publish());
            room.publish().clear();
        }
        let is_due = clock.boot.since(self.passed) >= TOGETHER;
        if is_due || room.ready().spans.len() >= TOGETHER_MAX {
            self.passed = clock.boot;
            move_into(batch, room.ready());
        }
    }

    /// The agent ends: what waits is decided now.
    pub fn end(&mut self, batch: &mut Batch, clock: Clock) {
        let Some(room) = &mut self.room else { return };
        take(room, &mut *self.relay, batch, clock);
        room.end(clock);
        move_into(batch, room.ready());
    }

    /// Tells each counter with its value since the start; nothing while all is kept.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        if let Some(room) = &self.room {
            room.counters(out);
            self.relay.counters(out);
        }
    }
}

/// What the others said, and what was finished, comes into the room.
fn take(room: &mut Room, relay: &mut dyn Relay, batch: &mut Batch, clock: Clock) -> Reach {
    let reach = relay.receive(&mut |key| room.hear(key, clock));
    room.tick(clock, reach);
    room.feed(batch, clock);
    reach
}

fn move_into(out: &mut Batch, ready: &mut Batch) {
    out.spans.append(&mut ready.spans);
    out.links.append(&mut ready.links);
    out.gaps.append(&mut ready.gaps);
}

//! Same thread: the latest request that was read by the thread which made the call (Tak et al.,
//! "vPath", USENIX ATC 2009). Assumes a thread per request; abstains where no thread matches.

use deeptrace_model::Method;

use crate::algorithm::{Algorithm, Guess, Row, Window, each_call};

pub(crate) const ROW: Row = Row {
    name: "vpath",
    title: "the latest request read by the thread that made the call (USENIX ATC 2009)",
    make: || Box::new(Vpath),
};

struct Vpath;

impl Algorithm for Vpath {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        each_call(window, |call, open| {
            let thread = call.units[0]?;
            let read_by = |request: &&usize| window.requests[**request].units[0] == Some(thread);
            let mut same = open.iter().filter(read_by);
            let request = *same.next_back()?;
            let confidence = 1.0 / (1 + same.count()) as f32;
            Some(Guess { request, method: Method::Thread, confidence })
        })
    }
}

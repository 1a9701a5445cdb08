//! Items of queues: who takes one names it as who put it there.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{ItemKey, MessageRole};
use deeptrace_protocol::{Options, Output, Protocols};

use crate::session::Delivery;
use crate::session::corpus::entries;

#[test]
fn what_sessions_take_was_put_by_others_of_the_same_protocol() {
    let mut put: BTreeMap<String, BTreeSet<ItemKey>> = BTreeMap::new();
    let mut taken = Vec::new();
    // One agent sees them all, so that what one connection tells is known on the others.
    let mut stage = Protocols::new(Options::default());
    for entry in entries() {
        let mut out = Output::default();
        let mut deliveries = entry.session.deliveries();
        deliveries.push(Delivery::Close(0));
        entry.session.run_in(&mut stage, &mut out, &deliveries);
        for message in &out.messages {
            for item in &message.items {
                if message.role == MessageRole::Response {
                    taken.push((entry.protocol.clone(), *item, entry.path.clone()));
                } else {
                    put.entry(entry.protocol.clone()).or_default().insert(*item);
                }
            }
        }
    }
    assert!(taken.len() >= 10, "two clients took five batches each: {taken:?}");
    for (protocol, item, path) in taken {
        assert!(put[&protocol].contains(&item), "{} of {}", item.0, path.display());
    }
}

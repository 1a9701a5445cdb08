//! All that there is: ids that the application carries, then the chain model on what is left; and the
//! same with one ingredient of the model left out, to see what that one is worth.

use crate::algorithm::Row;
use crate::chain::{Chain, Ingredients};

pub(crate) const ROW: Row = Row {
    name: "auto",
    title: "application ids, observed context, and the chain model for the rest",
    make: || Box::new(Chain::new(Ingredients::ALL)),
};

/// `auto` without one ingredient each. Nothing but an evaluation has a use for them.
pub const WITHOUT: &[Row] = &[
    Row {
        name: "threads",
        title: "which thread or context a request was last seen on",
        make: || Box::new(Chain::new(Ingredients { units: false, ..Ingredients::ALL })),
    },
    Row {
        name: "values",
        title: "rare values that a request and its call share",
        make: || Box::new(Chain::new(Ingredients { fields: false, ..Ingredients::ALL })),
    },
    Row {
        name: "order",
        title: "first come, first served among requests in the same state",
        make: || Box::new(Chain::new(Ingredients { order: false, ..Ingredients::ALL })),
    },
    Row {
        name: "soft-end",
        title: "a call may end a little after its request",
        make: || Box::new(Chain::new(Ingredients { soft_end: false, ..Ingredients::ALL })),
    },
    Row {
        name: "background",
        title: "calls that no request caused",
        make: || Box::new(Chain::new(Ingredients { background: false, ..Ingredients::ALL })),
    },
    Row {
        name: "meetings",
        title: "requests of one trace that meet are one walk",
        make: || Box::new(Chain::new(Ingredients { meetings: false, ..Ingredients::ALL })),
    },
    Row {
        name: "history",
        title: "the calls that a request has made, beside its class",
        make: || Box::new(Chain::new(Ingredients { history: false, ..Ingredients::ALL })),
    },
    Row {
        name: "beam",
        title: "several joint hypotheses at a time",
        make: || Box::new(Chain::new(Ingredients { beam: false, ..Ingredients::ALL })),
    },
    Row {
        name: "learning",
        title: "learning again from what was found",
        make: || Box::new(Chain::new(Ingredients { learning: false, ..Ingredients::ALL })),
    },
    Row {
        name: "tempering",
        title: "less sure answers where the window as a whole is less sure",
        make: || Box::new(Chain::new(Ingredients { tempering: false, ..Ingredients::ALL })),
    },
];

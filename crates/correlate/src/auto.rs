//! All that there is: ids that the application carries, then the chain model on what is left.

use crate::algorithm::Row;
use crate::chain::{Chain, Ingredients};

pub(crate) const ROW: Row = Row {
    name: "auto",
    title: "application ids, observed context, and the chain model for the rest",
    make: || Box::new(Chain::new(Ingredients::ALL)),
};

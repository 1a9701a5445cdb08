//! Alerts: rules over what is stored, their state as documents of the store, and webhooks that are told.
//!
//! [`Watcher::step`] does everything, at the time it is given; a thread calls it once a second. Of several
//! servers over one store only one may: it is asked before each step.

mod evaluate;
mod message;
pub mod routes;
mod rule;
mod state;
mod watcher;
mod webhook;
pub mod written;

pub use rule::{AlertsConfig, Condition, Rule};
pub use state::{Instance, Phase};
pub use watcher::{Alerts, Watcher, by_lease};
pub use webhook::{Outcome, Webhook};

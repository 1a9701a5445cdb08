//! From stored spans and links to answers: assemble a trace, search, list services.
//!
//! [`Assembly`] is a state machine that names what it needs to know next, all lookups of one
//! depth at once; it does no I/O. [`run`] drives it with a [`Store`](deeptrace_store::Store).
#![forbid(unsafe_code)]

mod absorb;
mod assembly;
mod clocks;
mod critical_path;
mod fragment;
mod group;
mod join;
mod lookups;
mod run;
mod search;
mod services;
mod shape;
mod tree;

pub use assembly::{Assembly, Limits, Start, Step, View};
pub use clocks::{Clock, Clocks};
pub use critical_path::{CriticalPath, CriticalPaths, OnPath, Piece, critical_path};
pub use fragment::fragment;
pub use lookups::{Answers, Lookups};
pub use run::{FindError, find, is_id, run};
pub use search::{TracePage, search, summary, walk};
pub use services::{Service, services};
pub use shape::shape;

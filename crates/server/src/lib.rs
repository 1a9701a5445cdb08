//! The server: takes spans in, keeps them, answers questions about them, and shows the page.
#![forbid(unsafe_code)]

pub mod api;
pub mod clock;
pub mod config;
pub mod page;
pub mod pipeline;
pub mod written;

//! The server: takes spans in, keeps them, answers questions about them, and shows the page.
#![forbid(unsafe_code)]

pub mod access;
pub mod again;
pub mod agents;
pub mod alerts;
pub mod analytics;
pub mod answers;
pub mod api;
pub mod asking;
pub mod audit;
pub mod clock;
pub mod config;
pub mod correlation;
pub mod duties;
mod edges;
mod histogram;
mod jaeger;
pub mod jobs;
pub mod kept;
pub mod lease;
pub mod live;
pub mod metrics;
pub mod orders;
pub mod otlp;
pub mod page;
pub mod pipeline;
pub mod push;
mod question;
mod red;
mod settling;
pub mod spans;
pub mod written;

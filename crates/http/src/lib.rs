//! What the agent's and the server's HTTP listeners share: the error shape, the checks that make
//! them safe from the first day (Host, Origin, token), and a listener with limits and time-outs.
#![forbid(unsafe_code)]

mod error;
mod extract;
mod guard;
mod lingering;
mod listener;
mod metrics;
mod moment;
mod peer;
mod process;
mod settings;
mod tls;
mod token;

pub use error::{ApiError, ErrorBody, ErrorShape};
pub use extract::{Body, Params, Segment};
pub use guard::Guard;
pub use listener::{BindError, Limits, Listener};
pub use metrics::{Buckets, Exemplar, Exposition, Kind};
pub use moment::{MomentError, format_time, parse_duration, parse_time};
pub use peer::Peer;
pub use process::process_metrics;
pub use settings::{Applied, Settings, config_routes};
pub use tls::{ClientFiles, Identity, Renewed, ServerFiles, Tls, TlsError};
pub use token::{Token, TokenError};

//! Values of options, refused while they are read, so that a wrong one is bad usage (exit code 2) and
//! nothing is opened for it. Texts stay as they were typed: a server is asked in the same words.

use clap::builder::RangedI64ValueParser;
use deeptrace_erase::{Target, TargetError};
use deeptrace_http::{MomentError, parse_duration, parse_time};
use deeptrace_protocol::TABLE;
use deeptrace_query::is_id;
use deeptrace_server::clock;
use ureq::http::Uri;
use ureq::http::uri::Scheme;

use crate::custom;

/// What was typed fits each option, but not all of them together; ends the process with code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

/// A time: RFC 3339, `now`, or relative to it.
pub fn time(text: &str) -> Result<String, MomentError> {
    parse_time(text, clock::now()).map(|_| text.to_owned())
}

/// A duration with its unit.
pub fn duration(text: &str) -> Result<String, MomentError> {
    parse_duration(text).map(|_| text.to_owned())
}

/// Where somebody can be asked.
pub fn url(text: &str) -> Result<String, String> {
    let url = text.parse::<Uri>().ok();
    let is_web =
        |url: &Uri| url.scheme().is_some_and(|it| [Scheme::HTTP, Scheme::HTTPS].contains(it));
    match url.filter(|url| is_web(url) && url.host().is_some_and(|host| !host.is_empty())) {
        Some(_) => Ok(text.to_owned()),
        None => Err("give an address such as http://127.0.0.1:7901".to_owned()),
    }
}

/// Between 0 and 1.
pub fn probability(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "give a probability, between 0 and 1".to_owned())
}

/// Id of a trace or of a span.
pub fn id(text: &str) -> Result<String, String> {
    match is_id(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("give a trace id of 32 or a span id of 16 hex digits".to_owned()),
    }
}

/// Id of a job.
pub fn job(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err("give the id that `asso run` printed".to_owned()),
    }
}

/// What is to be erased.
pub fn target(text: &str) -> Result<String, TargetError> {
    Target::parse(text).map(|_| text.to_owned())
}

/// A protocol of the table, or one that this program has registered.
pub fn protocol(text: &str) -> Result<String, String> {
    let registered = custom::handlers().map_err(|error| format!("{error:#}"))?;
    let names = TABLE.iter().map(|row| row.name);
    match names.chain(registered.iter().map(|it| it.name())).any(|name| name == text) {
        true => Ok(text.to_owned()),
        false => Err("there is no such protocol; `deeptrace protocols` lists all".to_owned()),
    }
}

/// How many, `most` at most. Read with a sign, so that a negative number is said to be out of range.
pub fn limit<T: TryFrom<i64> + Clone + Send + Sync + 'static>(
    most: i64,
) -> RangedI64ValueParser<T> {
    RangedI64ValueParser::new().range(1..=most)
}

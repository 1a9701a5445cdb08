//! Truth: a call as its client wrote it down (`xtask/servers/truth.py` says what the fields mean).

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// A call of a client, or a message that it was sent.
#[derive(Debug)]
pub struct Call {
    /// The client's port; zero for an exchange of others that follows from its calls.
    pub connection: u16,
    /// Protocol, where it is not the server's.
    pub protocol: Option<String>,
    /// Name that its spans must have.
    pub operation: String,
    /// Their name where what names it was sent before the agent came.
    pub vague: Option<String>,
    /// Status that the client's span and the server's must have.
    pub status: [String; 2],
    /// Nanoseconds since 1970, by the client's `CLOCK_REALTIME`: before and after the call.
    pub start: u64,
    pub end: u64,
    /// Attributes that its spans must have.
    pub attributes: Map<String, Value>,
    /// Bytes on the wire, where the client knows.
    pub sizes: Option<[u64; 2]>,
    /// Whether what names it is told on another connection.
    pub elsewhere: bool,
    /// What it put into a queue, and what it took out of one: its span is linked to that of who put it.
    pub puts: Option<String>,
    pub takes: Option<String>,
    /// Whether the client's library made it on its own while it opened the connection.
    pub opening: bool,
    /// Whether the connection is older than the agent.
    pub old: bool,
}

impl Call {
    /// A line.
    pub fn read(line: &str) -> Result<Self> {
        let fields: Value = serde_json::from_str(line)?;
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        let number = |name: &str| fields[name].as_u64();
        let status = text("status").context("no status")?;
        let server_status = text("server_status").unwrap_or_else(|| status.clone());
        Ok(Self {
            connection: number("connection").unwrap_or(0) as u16,
            protocol: text("protocol"),
            operation: text("operation").context("no operation")?,
            vague: text("vague"),
            status: [status, server_status],
            start: number("start").context("no start")?,
            end: number("end").context("no end")?,
            attributes: fields["attributes"].as_object().cloned().unwrap_or_default(),
            sizes: number("request_size").zip(number("response_size")).map(|it| [it.0, it.1]),
            elsewhere: fields["elsewhere"] == true,
            puts: text("puts"),
            takes: text("takes"),
            opening: fields["opening"] == true,
            old: fields["old"] == true,
        })
    }
    /// Whether what names it may be unknown.
    pub fn may_be_vague(&self) -> bool {
        self.old || self.elsewhere
    }
}

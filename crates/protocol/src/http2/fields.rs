//! Header fields of a message (RFC 9113 §8.3), as far as they say something to us.

use std::ops::Range;

use super::hpack::{Broken, Field, Table};
use crate::trace_context::TraceHeaders;
use crate::web::meaning::Words;
use crate::web::{has_secret, is_secret, number, path_and_query};
use crate::{Side, grpc};

/// Bytes kept of a value.
const VALUE_MAX: usize = 2048;

/// Fields kept for detectors.
const LOOKED_AT_MAX: usize = 12;

/// What the fields of a message said so far: of its head, and of its trailers.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) method: Option<Vec<u8>>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) scheme: Option<Vec<u8>>,
    pub(super) authority: Option<Vec<u8>>,
    pub(super) user_agent: Option<Vec<u8>>,
    pub(super) length: Option<u64>,
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u32>,
    pub(super) grpc_message: Option<Vec<u8>>,
    /// Whether the content type is gRPC's, where it is known.
    pub(super) is_grpc: Option<bool>,
    pub(super) trace: TraceHeaders,
    /// Fields that detectors look at (see `web/meaning.rs`).
    looked_at: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there are fields whose names are not known.
    pub(super) has_unknown: bool,
    /// Whether a block was not copied to its end.
    pub(super) is_cut: bool,
    /// Where values lie in the block that must not be kept.
    pub(super) redact: Vec<Range<usize>>,
}

impl Fields {
    /// Reads a block.
    pub(super) fn read(table: &mut Table, block: &[u8], is_whole: bool) -> Result<Self, Broken> {
        let mut fields = Self { is_cut: !is_whole, has_unknown: !is_whole, ..Self::default() };
        table.decode(block, is_whole, &mut |field| fields.field(field))?;
        if !is_whole {
            // What was cut off may be a secret.
            fields.redact.push(0..block.len());
        }
        Ok(fields)
    }

    fn field(&mut self, field: &Field<'_>) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            self.has_unknown = true;
            if !field.place.is_empty() {
                // A value without its name may be a secret.
                self.redact.push(field.place.clone());
            }
            return;
        };
        let keep = || Some(value[..value.len().min(VALUE_MAX)].to_vec());
        if Words::has(name) && self.looked_at.len() < LOOKED_AT_MAX {
            self.looked_at.push((name.to_vec(), keep().unwrap_or_default()));
        }
        match name {
            b":method" => self.method = keep(),
            b":path" => {
                self.path = keep();
                if path_and_query(value).1.is_some_and(has_secret) {
                    self.redact.push(field.place.clone());
                }
            }
            b":scheme" => self.scheme = keep(),
            b":authority" => self.authority = keep(),
            b"host" if self.authority.is_none() => self.authority = keep(),
            b":status" => self.status = number(value).and_then(|code| u16::try_from(code).ok()),
            b"user-agent" => self.user_agent = keep(),
            b"content-length" => self.length = number(value),
            b"content-type" => self.is_grpc = Some(grpc::is_content_type(value)),
            b"grpc-status" => {
                self.grpc_status = number(value).and_then(|code| u32::try_from(code).ok());
            }
            b"grpc-message" => self.grpc_message = keep(),
            name if is_secret(name) => {
                if !field.place.is_empty() {
                    self.redact.push(field.place.clone());
                }
            }
            name => self.trace.header(name, value),
        }
    }

    /// What detectors look at.
    pub(super) fn words(&self) -> Words<'_> {
        let mut words = Words::default();
        self.looked_at.iter().for_each(|(name, value)| words.field(name, value));
        words
    }

    /// Who sent them, if pseudo-header fields tell.
    pub(super) fn side(&self) -> Option<Side> {
        if self.status.is_some() {
            return Some(Side::Server);
        }
        let of_client = [&self.method, &self.path, &self.scheme];
        of_client.iter().any(|field| field.is_some()).then_some(Side::Client)
    }

    /// Whether they are of gRPC, where they tell: fields that are all known, without a content type,
    /// are not.
    pub(super) fn told_grpc(&self) -> Option<bool> {
        let trailers = self.grpc_status.is_some().then_some(true);
        let none = (self.side().is_some() && !self.has_unknown).then_some(false);
        self.is_grpc.or(trailers).or(none)
    }

    /// Adds what the trailers say.
    pub(super) fn add_trailers(&mut self, trailers: Self) {
        self.grpc_status = trailers.grpc_status.or(self.grpc_status);
        self.grpc_message = trailers.grpc_message.or(self.grpc_message.take());
        self.has_unknown |= trailers.has_unknown;
        self.is_cut |= trailers.is_cut;
    }
}

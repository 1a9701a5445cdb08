//! View: what a caller may see of spans. Every answer that holds spans goes through it.
//!
//! A span of a service that the caller may not see stays in its trace as a placeholder, so that the
//! tree keeps its shape: its ids, parent, kind, times and whether it failed; no name, service,
//! attributes, sizes or payloads. A trace without any span that may be seen does not exist.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use deeptrace_http::ApiError;
use deeptrace_model::{Span, Trace, TraceSpan, Value};
use deeptrace_store::Filter;

use super::{Caller, Services};

/// Attribute of a placeholder.
pub const HIDDEN: &str = "deeptrace.hidden";

/// What a caller may see of spans.
#[derive(Clone, Debug)]
pub struct View {
    /// Whether payloads are seen.
    payloads: bool,
    services: Services,
}

impl View {
    /// Everything: for whoever may read the data folder.
    pub const ALL: Self = Self { payloads: true, services: Services::ALL };

    /// With or without payloads, of these services.
    pub fn new(payloads: bool, services: Services) -> Self {
        Self { payloads, services }
    }

    /// Whether payloads are seen.
    pub fn has_payloads(&self) -> bool {
        self.payloads
    }

    /// Whether spans of this service are seen.
    pub fn sees(&self, service: &str) -> bool {
        self.services.has(service)
    }

    /// Whether only some services are seen.
    pub fn is_restricted(&self) -> bool {
        self.services.is_restricted()
    }

    /// Narrows a search as far as a filter can say it; `None` where nothing is left to be found.
    /// What is found MUST still be looked at: a filter names one service at most.
    pub fn filter(&self, mut filter: Filter) -> Option<Filter> {
        match (&filter.service, self.services.only()) {
            (Some(service), _) if !self.sees(service) => None,
            (None, Some(only)) => {
                filter.service = Some(only.to_owned());
                Some(filter)
            }
            _ => Some(filter),
        }
    }

    /// A trace with placeholders for what is not seen; `None` where nothing is seen of it.
    pub fn trace(&self, mut trace: Trace) -> Option<Trace> {
        if self.is_restricted() && !trace.spans.iter().any(|it| self.sees(&it.span.service)) {
            return None;
        }
        if self.is_restricted() || !self.payloads {
            trace.spans.iter_mut().for_each(|it| self.show(Arc::make_mut(&mut it.span)));
        }
        Some(trace)
    }

    /// A trace reduced to the spans that are seen, for counting; `None` where nothing is seen of it,
    /// or nothing that passes `filter`.
    pub fn reduced<'a>(&self, trace: &'a Trace, filter: &Filter) -> Option<Cow<'a, Trace>> {
        if !self.is_restricted() {
            return Some(Cow::Borrowed(trace));
        }
        let sees = |it: &&TraceSpan| self.sees(&it.span.service);
        let spans: Vec<TraceSpan> = trace.spans.iter().filter(sees).cloned().collect();
        let is_found = spans.iter().any(|it| filter.matches(&it.span));
        is_found.then(|| Cow::Owned(Trace { spans, ..trace.clone() }))
    }

    /// A span as it may be shown: as it is, without payloads, or a placeholder.
    pub fn show(&self, span: &mut Span) {
        if !self.sees(&span.service) {
            hide(span);
        } else if !self.payloads {
            span.request_payload = Default::default();
            span.response_payload = Default::default();
        }
    }
}

/// Leaves nothing but its place.
fn hide(span: &mut Span) {
    span.name = Default::default();
    span.service = Default::default();
    span.protocol = Cow::Borrowed("");
    span.status_message = None;
    span.attributes = vec![(HIDDEN.into(), Value::Bool(true))].into();
    span.request_size = 0;
    span.response_size = 0;
    span.request_payload = Default::default();
    span.response_payload = Default::default();
    span.trace_context = None;
    span.unknown = Vec::new();
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Caller::from_request_parts(parts, state).await.map(|caller| caller.view())
    }
}

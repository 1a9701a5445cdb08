//! Trace context that applications put into headers: W3C `traceparent` and Zipkin's B3.

use deeptrace_model::{TraceContext, TraceId};

/// What the headers of one message said so far. W3C wins over B3, B3 in one header over several.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceHeaders {
    w3c: Option<TraceContext>,
    b3: Option<TraceContext>,
    b3_trace: Option<TraceId>,
    b3_span: Option<u64>,
}

impl TraceHeaders {
    /// Takes a header, if it is one of these; `name` in any case.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            11 if is(b"traceparent") => self.w3c = traceparent(value),
            2 if is(b"b3") => self.b3 = b3(value),
            12 if is(b"x-b3-traceid") => self.b3_trace = trace_id(value),
            11 if is(b"x-b3-spanid") => self.b3_span = span_id(value),
            _ => {}
        }
    }

    /// The trace context, if there was one.
    pub fn context(&self) -> Option<TraceContext> {
        let several = || Some(TraceContext { trace: self.b3_trace?, parent: self.b3_span? });
        self.w3c.or(self.b3).or_else(several)
    }
}

/// W3C Trace Context §3.2: `version-trace-parent-flags`; later versions may append fields.
fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let mut fields = value.split(|byte| *byte == b'-');
    let version = fields.next()?;
    if version.len() != 2 || version.eq_ignore_ascii_case(b"ff") || hex(version).is_none() {
        return None;
    }
    let trace = fields.next().filter(|id| id.len() == 32).and_then(trace_id)?;
    let parent = span_id(fields.next()?)?;
    fields.next().filter(|flags| flags.len() == 2).and_then(hex)?;
    Some(TraceContext { trace, parent })
}

/// <https://github.com/openzipkin/b3-propagation>: `trace-span[-sampled[-parent]]`.
fn b3(value: &[u8]) -> Option<TraceContext> {
    let mut fields = value.split(|byte| *byte == b'-');
    Some(TraceContext { trace: trace_id(fields.next()?)?, parent: span_id(fields.next()?)? })
}

/// 32 hex digits, or 16 (B3), not all zero.
fn trace_id(digits: &[u8]) -> Option<TraceId> {
    let is_length = matches!(digits.len(), 16 | 32);
    is_length.then(|| hex(digits)).flatten().filter(|id| *id != 0).map(TraceId)
}

/// 16 hex digits, not all zero.
fn span_id(digits: &[u8]) -> Option<u64> {
    let id = if digits.len() == 16 { hex(digits)? } else { 0 };
    u64::try_from(id).ok().filter(|id| *id != 0)
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        Some(number << 4 | u128::from(char::from(*digit).to_digit(16)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(headers: &[(&str, &str)]) -> Option<(u128, u64)> {
        let mut seen = TraceHeaders::default();
        for (name, value) in headers {
            seen.header(name.as_bytes(), value.as_bytes());
        }
        seen.context().map(|context| (context.trace.0, context.parent))
    }

    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const IDS: (u128, u64) = (0x0af7651916cd43dd8448eb211c80319c, 0xb7ad6b7169203331);

    #[test]
    fn reads_all_three_forms() {
        assert_eq!(context(&[("TraceParent", W3C)]), Some(IDS));
        assert_eq!(
            context(&[("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")]),
            Some(IDS)
        );
        let trace = ("X-B3-TraceId", "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context(&[trace, ("X-B3-SpanId", "b7ad6b7169203331")]), Some(IDS));
        assert_eq!(context(&[trace]), None);
        assert_eq!(
            context(&[("traceparent", W3C), ("b3", "1111111111111111-2222222222222222")]),
            Some(IDS)
        );
    }

    #[test]
    fn refuses_what_the_specifications_refuse() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c8031zz-b7ad6b7169203331-01",
        ] {
            assert_eq!(context(&[("traceparent", bad)]), None, "{bad}");
        }
        assert_eq!(context(&[("b3", "0")]), None);
    }
}

//! SOAP 1.1 (`SOAPAction`, W3C note §6.1.1) and 1.2 (RFC 3902: `action` of the media type). OpenTelemetry
//! has no conventions for it: the span stays one of HTTP and keeps its name.

use super::meaning::{Asking, Detector, Found, Meaning};

pub(super) const DETECTOR: Detector = Detector { head, body: |_, _| None, answer: None };

fn head(asking: &Asking<'_>) -> Found {
    let kind = asking.words.content_type.unwrap_or_default();
    let action = if kind.starts_with(b"application/soap+xml") {
        action(kind)
    } else if kind.starts_with(b"text/xml") {
        match asking.words.soap_action {
            Some(action) => Some(action.trim_ascii()),
            None => return Found::No,
        }
    } else {
        return Found::No;
    };
    let mut meaning = Meaning::default();
    meaning.add("rpc.system.name", "soap");
    let action = super::text(action.unwrap_or_default());
    let method = action.trim_matches('"').rsplit(['/', '#', ':']).next().unwrap_or_default();
    if !method.is_empty() {
        meaning.add("rpc.method", method);
    }
    Found::Yes(meaning)
}

/// `application/soap+xml; charset=utf-8; action="urn:x"`.
fn action(kind: &[u8]) -> Option<&[u8]> {
    let parameters = kind.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parameters.skip(1).find_map(|parameter| parameter.strip_prefix(b"action="))
}

#[cfg(test)]
mod tests {
    use super::super::meaning::tests::meant;

    #[test]
    fn actions() {
        let of = |fields: &str| meant("POST", "/stock", fields, "");
        let one = "content-type: text/xml; charset=utf-8\nsoapaction: \"http://example.org/stock/GetPrice\"";
        assert_eq!(of(one), "HTTP rpc.system.name=soap rpc.method=GetPrice");
        let two = "content-type: application/soap+xml; charset=utf-8; action=\"urn:GetPrice\"";
        assert_eq!(of(two), "HTTP rpc.system.name=soap rpc.method=GetPrice");
        assert_eq!(of("content-type: text/xml\nsoapaction: \"\""), "HTTP rpc.system.name=soap");
    }
}

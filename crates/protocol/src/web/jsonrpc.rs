//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>), after OpenTelemetry's conventions for it.
//! Bias: of a batch nothing is told.

use deeptrace_model::SpanStatus;

use super::json::{Json, Member, members};
use super::meaning::{Asking, Detector, Found, Meaning, Note};
use crate::Draft;
use crate::remote_call;

pub(super) const DETECTOR: Detector = Detector { head, body, answer: Some(answer) };

fn head(asking: &Asking<'_>) -> Found {
    let is_one = asking.method == b"POST" && asking.words.is_json();
    if is_one { Found::InBody(Note::default()) } else { Found::No }
}

fn outer<'a>(members: &[Member<'a>], name: &str) -> Option<Json<'a>> {
    let found = members.iter().find(|it| it.within.is_empty() && it.name == name.as_bytes());
    found.map(|member| member.value)
}

fn body(_: Note, body: &[u8]) -> Option<Meaning> {
    let members = members(body);
    let version = outer(&members, "jsonrpc")?.text().filter(|version| *version == "2.0")?;
    let method = outer(&members, "method")?.text()?;
    let mut meaning = Meaning::default();
    meaning.add("rpc.system.name", "jsonrpc");
    meaning.add("rpc.method", method);
    meaning.add("jsonrpc.protocol.version", version);
    match outer(&members, "id") {
        Some(Json::Text(id)) => meaning.add("jsonrpc.request.id", &super::text(id)),
        Some(Json::Word(id)) if id != b"null" => {
            meaning.add("jsonrpc.request.id", &super::text(id));
        }
        _ => {}
    }
    meaning.name = remote_call::is_name(method.as_bytes()).then(|| method.into());
    Some(meaning)
}

fn answer(body: &[u8], draft: &mut Draft) {
    let members = members(body);
    let of_error = |name: &[u8]| {
        let found = members.iter().find(|it| it.within == b"error" && it.name == name);
        found.map(|member| member.value)
    };
    if outer(&members, "jsonrpc").is_none() || outer(&members, "error") != Some(Json::Object) {
        return;
    }
    draft.status = SpanStatus::Error;
    if let Some(code) = of_error(b"code").and_then(Json::number) {
        let code = code.to_string();
        remote_call::set_status_code(draft, code.clone());
        draft.attributes.set("error.type".into(), code.into());
    }
    if let Some(Json::Text(text)) = of_error(b"message") {
        draft.status_message = Some(remote_call::message(text));
    }
}

#[cfg(test)]
mod tests {
    use super::super::meaning::tests::{line, meant};
    use super::*;

    #[test]
    fn calls_and_errors() {
        let call = |body: &str| meant("POST", "/", "content-type: application/json", body);
        assert_eq!(
            call(r#"{"jsonrpc": "2.0", "method": "eth_blockNumber", "params": [1], "id": 83}"#),
            "eth_blockNumber rpc.system.name=jsonrpc rpc.method=eth_blockNumber \
             jsonrpc.protocol.version=2.0 jsonrpc.request.id=83"
        );
        // Cut behind what is needed.
        assert!(
            call(r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"na"#)
                .starts_with("tools/call ")
        );
        let mut draft = Draft::response(SpanStatus::Ok);
        answer(
            br#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"no such method"},"id":1}"#,
            &mut draft,
        );
        assert_eq!(line(&draft), " rpc.response.status_code=-32601 error.type=-32601");
        assert_eq!(
            (draft.status, draft.status_message.as_deref()),
            (SpanStatus::Error, Some("no such method"))
        );
        let mut fine = Draft::response(SpanStatus::Ok);
        answer(br#"{"jsonrpc":"2.0","result":{"error":{"code":1}},"id":1}"#, &mut fine);
        assert_eq!(fine.status, SpanStatus::Ok);
    }
}

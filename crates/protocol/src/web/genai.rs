//! Generative AI over HTTP, after OpenTelemetry's conventions: the interface of OpenAI, which many speak
//! (chat, completions, embeddings), and Anthropic's messages. Bias: who provides it is told by hosts that
//! are known, and by a field that only Anthropic's interface has.

use super::host_and_port;
use super::json::{Json, Member, members};
use super::meaning::{Asking, Detector, Found, Meaning, Note};
use crate::Draft;

pub(super) const DETECTOR: Detector = Detector { head, body, answer: Some(answer) };

/// Hosts of providers: how their names end, and what the conventions call them.
const PROVIDERS: &[(&[u8], &str)] = &[
    (b"api.openai.com", "openai"),
    (b".openai.azure.com", "azure.ai.openai"),
    (b"api.anthropic.com", "anthropic"),
    (b"api.mistral.ai", "mistral_ai"),
    (b"api.groq.com", "groq"),
    (b"api.deepseek.com", "deepseek"),
    (b"api.perplexity.ai", "perplexity"),
    (b"api.x.ai", "x_ai"),
    (b"api.cohere.com", "cohere"),
    (b"generativelanguage.googleapis.com", "gcp.gemini"),
];

/// How paths end, the operation, and what must be in the body besides the model.
const PATHS: &[(&[u8], &str, &[u8])] = &[
    (b"/chat/completions", "chat", b"messages"),
    (b"/completions", "text_completion", b"prompt"),
    (b"/embeddings", "embeddings", b"input"),
];

fn head(asking: &Asking<'_>) -> Found {
    if asking.method != b"POST" || !asking.words.is_json() {
        return Found::No;
    }
    let is_anthropic = asking.words.has_anthropic_version && asking.path.ends_with(b"/messages");
    let host = asking.host.and_then(host_and_port).map_or(&b""[..], |host| host.0);
    let known = PROVIDERS.iter().find(|(end, _)| host.ends_with(end)).map(|(_, name)| *name);
    let operation = PATHS.iter().find(|(end, ..)| asking.path.ends_with(end)).map(|path| path.1);
    match (is_anthropic, operation) {
        (true, _) => Found::InBody(["chat", known.unwrap_or("anthropic")]),
        (_, Some(operation)) => Found::InBody([operation, known.unwrap_or_default()]),
        _ => Found::No,
    }
}

fn body(note: Note, body: &[u8]) -> Option<Meaning> {
    let [operation, provider] = note;
    let members = members(body);
    let outer = |name: &[u8]| find(&members, b"", name);
    let model = outer(b"model")?.text()?;
    let wanted = PATHS.iter().find(|path| path.1 == operation)?.2;
    // It may lie behind what was copied: then its name is looked for.
    let is_named = || {
        let name = [b"\"", wanted, b"\""].concat();
        memchr::memmem::find(body, &name).is_some()
    };
    if outer(wanted).is_none() && !is_named() {
        return None;
    }
    let mut meaning = Meaning::default();
    meaning.add("gen_ai.operation.name", operation);
    if !provider.is_empty() {
        meaning.add("gen_ai.provider.name", provider);
    }
    meaning.add("gen_ai.request.model", model);
    if let Some(most) = outer(b"max_tokens").and_then(Json::number) {
        meaning.attributes.push(("gen_ai.request.max_tokens".into(), most.into()));
    }
    meaning.name = Some(format!("{operation} {model}").into());
    Some(meaning)
}

fn find<'a>(members: &[Member<'a>], within: &[u8], name: &[u8]) -> Option<Json<'a>> {
    members.iter().find(|it| it.within == within && it.name == name).map(|member| member.value)
}

fn answer(body: &[u8], draft: &mut Draft) {
    let members = members(body);
    for (name, attribute) in
        [(b"id".as_slice(), "gen_ai.response.id"), (b"model", "gen_ai.response.model")]
    {
        if let Some(text) = find(&members, b"", name).and_then(Json::text) {
            draft.attributes.push((attribute.into(), text.to_owned().into()));
        }
    }
    // OpenAI's words, then Anthropic's.
    for (names, attribute) in [
        ([&b"prompt_tokens"[..], b"input_tokens"], "gen_ai.usage.input_tokens"),
        ([b"completion_tokens", b"output_tokens"], "gen_ai.usage.output_tokens"),
    ] {
        let count = names.iter().find_map(|name| find(&members, b"usage", name)?.number());
        if let Some(count) = count {
            draft.attributes.push((attribute.into(), count.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_model::SpanStatus;

    use super::super::meaning::tests::{line, meant};
    use super::*;

    #[test]
    fn requests() {
        let json = "content-type: application/json";
        let chat = r#"{"messages": [{"role": "user", "content": "model: x"}], "model": "gpt-4o", "max_tokens": 5}"#;
        assert_eq!(
            meant("POST", "/v1/chat/completions", &format!("host: api.openai.com\n{json}"), chat),
            "chat gpt-4o gen_ai.operation.name=chat gen_ai.provider.name=openai \
             gen_ai.request.model=gpt-4o gen_ai.request.max_tokens=5"
        );
        assert_eq!(
            meant(
                "POST",
                "/v1/embeddings",
                &format!("host: llm:8000\n{json}"),
                r#"{"model": "bge", "input": ["a"#
            ),
            "embeddings bge gen_ai.operation.name=embeddings gen_ai.request.model=bge"
        );
        let anthropic = format!("host: proxy\nanthropic-version: 2023-06-01\n{json}");
        assert!(
            meant("POST", "/v1/messages", &anthropic, r#"{"model":"claude","messages":[]}"#)
                .starts_with(
                    "chat claude gen_ai.operation.name=chat gen_ai.provider.name=anthropic "
                )
        );
    }

    #[test]
    fn responses() {
        let of = |body: &str| {
            let mut draft = Draft::response(SpanStatus::Ok);
            answer(body.as_bytes(), &mut draft);
            line(&draft)
        };
        assert_eq!(
            of(
                r#"{"id":"c1","model":"gpt-4o-2024","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#
            ),
            " gen_ai.response.id=c1 gen_ai.response.model=gpt-4o-2024 gen_ai.usage.input_tokens=9 gen_ai.usage.output_tokens=2"
        );
        // What is cut inside a number is no number.
        assert_eq!(
            of(r#"{"id":"m1","usage":{"input_tokens":12,"output_tokens":3"#),
            " gen_ai.response.id=m1 gen_ai.usage.input_tokens=12"
        );
    }
}

//! Environment: names that the operator gave for tracing, and the pod's name.

use super::Found;
use super::java;
use crate::container;
use crate::process::Facts;

/// `OTEL_SERVICE_NAME`, then `service.name` of `OTEL_RESOURCE_ATTRIBUTES` (in the order of
/// OpenTelemetry's "SDK environment variables"), then Datadog's `DD_SERVICE`; each also as a
/// property of a Java program.
pub(super) fn find(facts: &Facts) -> Found {
    let variable = |name: &str| facts.environment.get(name).cloned();
    let names = [
        variable("OTEL_SERVICE_NAME"),
        java::property(facts, "otel.service.name"),
        variable("OTEL_RESOURCE_ATTRIBUTES").and_then(|list| attribute(&list)),
        java::property(facts, "otel.resource.attributes").and_then(|list| attribute(&list)),
        variable("DD_SERVICE"),
        java::property(facts, "dd.service"),
    ];
    let name = names.into_iter().flatten().find(|name| !name.trim().is_empty());
    name.map_or(Found::Nothing, Found::Named)
}

/// The `service.name` of `key=value,key=value`, whose values are percent-encoded (W3C Baggage).
fn attribute(list: &str) -> Option<String> {
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| key.trim() == "service.name")?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.trim().as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%');
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The workload of the pod that the process runs in: Kubernetes sets `HOSTNAME` to the pod's name.
/// A pod on the host's network has the host's name instead, which names no workload.
pub(super) fn pod(facts: &Facts, host: &str) -> Found {
    let is_pod = facts.environment.contains_key("KUBERNETES_SERVICE_HOST")
        || container::is_kubernetes(&facts.cgroup);
    match facts.environment.get("HOSTNAME") {
        Some(name) if is_pod && name != host => Found::named(workload(name)),
        _ => Found::Nothing,
    }
}

/// A pod's name without what the controllers appended: `NAME-HASH-XXXXX` of a Deployment,
/// `NAME-XXXXX` of a DaemonSet or Job, `NAME-0` of a StatefulSet.
fn workload(pod: &str) -> &str {
    let Some((name, last)) = pod.rsplit_once('-') else { return pod };
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) && last.len() < 5 {
        return name;
    }
    if last.len() != 5 || !is_generated(last) {
        return pod;
    }
    match name.rsplit_once('-') {
        Some((name, hash)) if (6..=10).contains(&hash.len()) && is_generated(hash) => name,
        _ => name,
    }
}

/// Whether Kubernetes may have made up the text: it uses neither vowels nor what looks like them
/// (`apimachinery/pkg/util/rand`, "alphanums").
fn is_generated(text: &str) -> bool {
    text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_lose_what_controllers_appended() {
        let rows = [
            ("cart-7d9f8b6c5d-x2x4z", "cart"),
            ("shop-cart-6b5d8c9f7-zx24q", "shop-cart"),
            ("node-exporter-x7k2p", "node-exporter"),
            ("kafka-0", "kafka"),
            ("kafka-12", "kafka"),
            // `proxy` has an `o`, so nobody generated it.
            ("edge-proxy", "edge-proxy"),
            ("standalone", "standalone"),
            ("report-28394820", "report-28394820"),
        ];
        for (pod, expected) in rows {
            assert_eq!(workload(pod), expected);
        }
    }

    #[test]
    fn resource_attributes_are_decoded() {
        let rows = [
            ("service.name=cart", Some("cart")),
            ("a=b, service.name = my%20cart ,c=d", Some("my cart")),
            ("service.name=100%", Some("100%")),
            ("service.name=%zz%4", Some("%zz%4")),
            ("service.namespace=shop", None),
            ("", None),
        ];
        for (list, expected) in rows {
            assert_eq!(attribute(list).as_deref(), expected, "{list}");
        }
    }
}

//! Where nothing is found nothing is allocated, in no form and by no rule.

use allocation_counter::measure;
use deeptrace_redact::{Form, Payload, Rules, Written};

#[test]
fn what_finds_nothing_allocates_nothing() {
    let rules = Rules::new(Written {
        headers: vec!["X-Tenant".into()],
        names: vec!["password".into(), "ssn".into(), "credit_card".into()],
        cards: true,
        addresses: true,
        services: vec!["pay*".into()],
    })
    .unwrap();
    let head =
        "POST /users?a=%20b&c=%2Cd HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n";
    let body = r#"{"name":"ann \"b\" \n","city":"Ulm","n":17,"list":[1,2,3]}"#;
    let http = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let redis = "*3\r\n$3\r\nSET\r\n$6\r\nuser:1\r\n$3\r\nann\r\n";
    let mut places = Vec::new();
    let mut count = |rules: &Rules, text: &str, form: Form| {
        let payload = Payload { bytes: text.as_bytes(), form, is_cut: false };
        measure(|| {
            rules.payload(payload, &mut places);
            assert_eq!(rules.attribute("url.query", "a=b&c=d"), None);
            assert!(places.is_empty(), "{places:?} in {text}");
        })
        .count_total
    };
    for (text, form) in [(http.as_str(), Form::Http), (redis, Form::Words), ("ok", Form::Told)] {
        // What is done once.
        count(&rules, text, form);
        assert_eq!(count(&rules, text, form), 0, "{text}");
        assert_eq!(count(&Rules::default(), text, form), 0, "{text}");
    }
    let found = measure(|| drop(rules.text("password=x").unwrap())).count_total;
    assert!(found > 0, "allocations are counted");
}

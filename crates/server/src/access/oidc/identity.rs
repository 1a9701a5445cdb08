//! Identity: somebody as a token of the provider claims them, with what they may do here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Settings;
use super::error::OidcError;
use crate::access::{Caller, CallerKind, Role, Services};

/// Bytes of a subject, at most (OpenID Connect Core 1.0 §2).
const SUBJECT_MAX: usize = 255;
/// Characters of a name that is shown, at most.
const LABEL_MAX: usize = 64;
/// Claims that name somebody, the best first.
const NAMES: [&str; 3] = ["preferred_username", "email", "name"];

/// Somebody as a token claims them. The subject is theirs for ever; the label is for people's eyes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::access) struct Identity {
    pub subject: String,
    pub label: Option<String>,
    pub role: Role,
    pub services: Services,
}

impl Identity {
    /// Of claims that were verified.
    pub(super) fn of(claims: &Value, settings: &Settings) -> Result<Self, OidcError> {
        let subject = claims["sub"].as_str().unwrap_or_default();
        let is_plain = subject.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if subject.is_empty() || subject.len() > SUBJECT_MAX || !is_plain {
            return Err(OidcError::Refused("the token names no subject".to_owned()));
        }
        let nobody = |message| OidcError::Nobody { subject: subject.to_owned(), message };
        let values = texts(find(claims, &settings.roles_claim));
        let given = settings.roles.iter().filter(|(value, _)| values.contains(&value.as_str()));
        let role = given.map(|(_, role)| *role).max_by_key(|role| *role as u8);
        let Some(role) = role.or(settings.default_role) else {
            let message = format!(
                "the provider knows you, but its claim {} has no value that gives a role here; \
                 whoever runs this server sets that in server.oidc.roles",
                settings.roles_claim
            );
            return Err(nobody(message));
        };
        let services = services(claims, settings).map_err(nobody)?;
        let label = NAMES.iter().find_map(|name| claims[*name].as_str());
        let label = label.map(|text| text.chars().filter(|c| !c.is_control()).take(LABEL_MAX));
        Ok(Self {
            subject: subject.to_owned(),
            label: label.map(Iterator::collect),
            role,
            services,
        })
    }

    pub(in crate::access) fn caller(self) -> Caller {
        let Self { subject, label, role, services } = self;
        Caller { kind: CallerKind::Oidc, name: subject, label, role, services }
    }
}

/// Whoever is to be restricted and has no such claim sees nothing, so they are not let in.
fn services(claims: &Value, settings: &Settings) -> Result<Services, String> {
    if settings.services_claim.is_empty() {
        return Ok(Services::ALL);
    }
    let names = texts(find(claims, &settings.services_claim));
    let services = Services::new(names.into_iter().map(str::to_owned));
    if !services.is_restricted() || services.check().is_err() {
        return Err(format!("the claim {} names no services", settings.services_claim));
    }
    Ok(services)
}

/// By a name, which may hold dots and slashes as those of some providers do, or by a pointer.
fn find<'a>(claims: &'a Value, place: &str) -> Option<&'a Value> {
    if place.starts_with('/') { claims.pointer(place) } else { claims.get(place) }
}

/// One text, or a list of them.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> Settings {
        let roles = [("ops", Role::Operator), ("all", Role::Viewer), ("root", Role::Admin)];
        Settings {
            issuer: "https://id.example".to_owned(),
            client_id: "deeptrace".to_owned(),
            client_secret: "hush".to_owned(),
            scopes: Vec::new(),
            roles_claim: "groups".to_owned(),
            roles: roles.into_iter().map(|(value, role)| (value.to_owned(), role)).collect(),
            default_role: None,
            services_claim: String::new(),
            audience: String::new(),
            label: String::new(),
            ca_file: None,
        }
    }

    #[test]
    fn the_highest_role_counts_and_none_is_nobody() {
        let role = |claims: Value| Identity::of(&claims, &settings()).map(|it| it.role).ok();
        assert_eq!(role(json!({"sub": "a", "groups": ["all", "ops", "x"]})), Some(Role::Operator));
        assert_eq!(role(json!({"sub": "a", "groups": "all"})), Some(Role::Viewer));
        assert_eq!(role(json!({"sub": "a", "groups": ["admin", "operator"]})), None);
        assert_eq!(role(json!({"sub": "a", "groups": {"root": true}})), None);
        assert_eq!(role(json!({"sub": "a"})), None);
        let open = Settings { default_role: Some(Role::Viewer), ..settings() };
        assert_eq!(Identity::of(&json!({"sub": "a"}), &open).unwrap().role, Role::Viewer);
    }

    #[test]
    fn a_claim_is_found_by_name_and_by_pointer() {
        let claims = json!({"sub": "a", "https://x.example/roles": ["root"],
                            "realm_access": {"roles": ["ops"]}});
        for (place, role) in
            [("https://x.example/roles", Role::Admin), ("/realm_access/roles", Role::Operator)]
        {
            let settings = Settings { roles_claim: place.to_owned(), ..settings() };
            assert_eq!(Identity::of(&claims, &settings).unwrap().role, role, "{place}");
        }
    }

    #[test]
    fn who_is_to_be_restricted_and_is_not_is_not_let_in() {
        let settings = Settings { services_claim: "services".to_owned(), ..settings() };
        let of = |services: Value| {
            let claims = json!({"sub": "a", "groups": "all", "services": services});
            Identity::of(&claims, &settings).map(|it| it.services)
        };
        assert!(of(json!(["cart"])).unwrap().has("cart"));
        assert!(!of(json!(["cart"])).unwrap().has("pay"));
        for nothing in [json!([]), json!(null), json!(""), json!([1])] {
            assert!(matches!(of(nothing), Err(OidcError::Nobody { .. })));
        }
    }

    #[test]
    fn a_subject_is_plain_text() {
        for subject in [json!(""), json!(7), json!("a\nb"), json!("x".repeat(256)), json!(null)] {
            let claims = json!({"sub": subject, "groups": "all"});
            assert!(matches!(Identity::of(&claims, &settings()), Err(OidcError::Refused(_))));
        }
    }

    #[test]
    fn debugging_shows_no_secret() {
        assert!(!format!("{:?}", settings()).contains("hush"));
    }
}

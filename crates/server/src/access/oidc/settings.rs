//! Settings of single sign-on, as they were meant.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use axum::http::Uri;

use super::is_private;
use crate::access::Role;
use crate::access::secret::sha256_hex;
use crate::config::{ConfigError, error};
use crate::written;

/// Settings of single sign-on.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Who vouches; its address.
    pub issuer: String,
    /// As whom we are known there.
    pub client_id: String,
    /// What proves it; empty: nothing, PKCE alone.
    pub client_secret: String,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Where a token says what somebody is: the name of a claim, or a JSON pointer (RFC 6901) to it.
    pub roles_claim: String,
    /// Role by a value of that claim.
    pub roles: BTreeMap<String, Role>,
    /// Role of who has none of these; `None`: they may not come in.
    pub default_role: Option<Role>,
    /// Where a token says which services somebody may see; empty: all of them.
    pub services_claim: String,
    /// Of access tokens that programs bear; empty: none is taken.
    pub audience: String,
    /// What the button says.
    pub label: String,
    /// Certificates that are trusted, in PEM; `None`: those that browsers believe.
    pub ca_file: Option<PathBuf>,
}

impl Settings {
    /// Checks what was written and gives it its meaning; `None` where nothing was.
    pub fn new(written: &written::Oidc) -> Result<Option<Self>, ConfigError> {
        if *written == written::Oidc::default() {
            return Ok(None);
        }
        let key = |name: &str| format!("server.oidc.{name}");
        let message = "give the address of the provider as its tokens name it, with https (http on this \
                   host only), without a query";
        let wrong = |message: &str| error(&key("issuer"), message);
        let issuer: Uri = written.issuer.parse().map_err(|_| wrong(message))?;
        if !is_private(&issuer) || issuer.query().is_some() || written.issuer.contains(['#', '@']) {
            return Err(wrong(message));
        }
        if written.client_id.is_empty() {
            return Err(error(
                &key("client_id"),
                "give the name under which the provider knows us",
            ));
        }
        if written.roles_claim.is_empty() {
            return Err(error(&key("roles_claim"), "give the name of a claim, or a JSON pointer"));
        }
        if written.audience == written.client_id {
            let message =
                "give another name than client_id: what a browser was given is for nobody else";
            return Err(error(&key("audience"), message));
        }
        let role = |key: &str, text: &str| match text.parse::<Role>() {
            Ok(Role::Agent) => Err(error(key, "agents have tokens; choose another role")),
            Ok(role) => Ok(role),
            Err(wrong) => Err(error(key, wrong.to_string())),
        };
        let mut roles = BTreeMap::new();
        for (value, text) in &written.roles {
            roles.insert(value.clone(), role(&key(&format!("roles.{value}")), text)?);
        }
        let default_role = match written.default_role.as_str() {
            "" => None,
            text => Some(role(&key("default_role"), text)?),
        };
        if roles.is_empty() && default_role.is_none() {
            let message = "nobody could come in: give roles, or default_role";
            return Err(error(&key("roles"), message));
        }
        Ok(Some(Self {
            issuer: written.issuer.clone(),
            client_id: written.client_id.clone(),
            client_secret: written.client_secret.clone(),
            scopes: written.scopes.clone(),
            roles_claim: written.roles_claim.clone(),
            roles,
            default_role,
            services_claim: written.services_claim.clone(),
            audience: written.audience.clone(),
            label: written.label.clone(),
            ca_file: (!written.ca_file.is_empty()).then(|| written.ca_file.clone().into()),
        }))
    }

    /// Changes whenever somebody could get another role from the same token: sessions of before end.
    pub(super) fn fingerprint(&self) -> String {
        let Self { issuer, client_id, roles_claim, roles, default_role, services_claim, .. } = self;
        let decides =
            (issuer, client_id, roles_claim, roles, default_role.map(Role::as_str), services_claim);
        sha256_hex(serde_json::to_string(&decides).unwrap_or_default().as_bytes())
    }
}

/// Without the secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_value_of_single_sign_on_is_named() {
        let roles = BTreeMap::from([("ops".to_owned(), "operator".to_owned())]);
        let right = written::Oidc {
            issuer: "https://id.example/realms/ops".into(),
            client_id: "deeptrace".into(),
            roles,
            ..written::Oidc::default()
        };
        assert_eq!(Settings::new(&written::Oidc::default()), Ok(None));
        assert!(Settings::new(&right).unwrap().is_some());
        type Spoil = fn(&mut written::Oidc);
        let cases: &[(&str, Spoil)] = &[
            ("server.oidc.issuer", |it| it.issuer = String::new()),
            ("server.oidc.issuer", |it| it.issuer = "http://id.example".into()),
            ("server.oidc.issuer", |it| it.issuer = "https://ann:pw@id.example".into()),
            ("server.oidc.issuer", |it| it.issuer = "https://id.example/?a=b".into()),
            ("server.oidc.client_id", |it| it.client_id = String::new()),
            ("server.oidc.roles_claim", |it| it.roles_claim = String::new()),
            ("server.oidc.audience", |it| it.audience = "deeptrace".into()),
            ("server.oidc.roles", |it| it.roles.clear()),
            ("server.oidc.roles.x", |it| drop(it.roles.insert("x".into(), "root".into()))),
            ("server.oidc.roles.x", |it| drop(it.roles.insert("x".into(), "agent".into()))),
            ("server.oidc.default_role", |it| it.default_role = "guest".into()),
        ];
        for (key, spoil) in cases {
            let mut written = right.clone();
            spoil(&mut written);
            assert_eq!(Settings::new(&written).unwrap_err().key, *key);
        }
        let this_host = written::Oidc { issuer: "http://127.0.0.1:3000".into(), ..right };
        assert!(Settings::new(&this_host).unwrap().is_some());
    }
}

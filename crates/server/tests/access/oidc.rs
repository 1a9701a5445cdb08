//! Single sign-on at a provider that lies on demand, which no real one does; with a real one it is
//! tested by `./x test --only oidc`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use deeptrace_server::access::Role;
use deeptrace_server::access::oidc::{Provider, Settings};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, PrivateSigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::server::{Answer, Server, rules};

const SECRET: &str = "the secret of the client";

/// What the provider does next.
struct Lies {
    /// Number of the key that signs, and of the one that is shown.
    signs: u8,
    shows: u8,
    /// Put over the header and the claims of the next token; null takes away.
    header: Value,
    claims: Value,
    /// Put in the place of the signature.
    signature: Option<String>,
    /// What the browser was sent with, by its code.
    begun: BTreeMap<String, BTreeMap<String, String>>,
    /// Times the keys were asked for.
    asked: usize,
}

#[derive(Clone)]
struct Fake {
    address: SocketAddr,
    lies: Arc<Mutex<Lies>>,
}

/// An Ed25519 key out of one byte (RFC 8410 §7).
fn key(number: u8) -> CoreEdDsaPrivateSigningKey {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend([number; 32]);
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    );
    let id = JsonWebKeyId::new(format!("key-{number}"));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(id)).unwrap()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn put(under: Value, over: &Value) -> Value {
    let mut all = under.as_object().unwrap().clone();
    for (name, value) in over.as_object().unwrap() {
        match value.is_null() {
            true => drop(all.remove(name)),
            false => drop(all.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(all)
}

impl Fake {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let lies = Lies {
            signs: 1,
            shows: 1,
            header: json!({}),
            claims: json!({}),
            signature: None,
            begun: BTreeMap::new(),
            asked: 0,
        };
        let fake =
            Self { address: listener.local_addr().unwrap(), lies: Arc::new(Mutex::new(lies)) };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(Self::about))
            .route("/keys", get(Self::keys))
            .route("/token", post(Self::token))
            .with_state(fake.clone());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, routes).await.unwrap();
            });
        });
        fake
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn lie(&self, lie: impl FnOnce(&mut Lies)) {
        lie(&mut self.lies.lock().unwrap());
    }

    async fn about(State(fake): State<Self>) -> Json<Value> {
        let of = |path: &str| format!("{}{path}", fake.issuer());
        Json(json!({
            "issuer": fake.issuer(),
            "authorization_endpoint": of("/auth"),
            "token_endpoint": of("/token"),
            "jwks_uri": of("/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA", "something-new"],
        }))
    }

    async fn keys(State(fake): State<Self>) -> Json<Value> {
        let mut lies = fake.lies.lock().unwrap();
        lies.asked += 1;
        Json(json!({"keys": [key(lies.shows).as_verification_key()]}))
    }

    /// A code is good once, for who has the secret, the verifier and the address of before.
    async fn token(
        State(fake): State<Self>,
        headers: HeaderMap,
        body: String,
    ) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
        let pairs = form_urlencoded::parse(body.as_bytes()).into_owned();
        let form: BTreeMap<String, String> = pairs.collect();
        let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error})));
        let secret = SECRET.replace(' ', "+");
        let basic = format!("Basic {}", STANDARD.encode(format!("deeptrace:{secret}")));
        if headers.get("authorization").is_none_or(|given| given != &basic) {
            return Err(refused("invalid_client"));
        }
        let begun = fake.lies.lock().unwrap().begun.remove(&form["code"]);
        let begun = begun.ok_or_else(|| refused("invalid_grant"))?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
        if begun["code_challenge"] != challenge || begun["redirect_uri"] != form["redirect_uri"] {
            return Err(refused("invalid_grant"));
        }
        let token = fake.sign(&json!({"nonce": begun["nonce"], "aud": "deeptrace"}));
        Ok(Json(json!({"access_token": "opaque", "token_type": "Bearer", "id_token": token})))
    }

    /// A token with these claims, as the lies say.
    fn sign(&self, claims: &Value) -> String {
        let lies = self.lies.lock().unwrap();
        let usual = json!({
            "iss": self.issuer(), "sub": "248289761001", "exp": now() + 300, "iat": now(),
            "preferred_username": "anna", "groups": ["everybody", "ops"],
        });
        let header = json!({"alg": "EdDSA", "kid": format!("key-{}", lies.signs)});
        let coded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = put(put(usual, claims), &lies.claims);
        let text = format!("{}.{}", coded(put(header, &lies.header)), coded(claims));
        let signed = key(lies.signs).sign(&CoreJwsSigningAlgorithm::EdDsa, text.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signed.unwrap());
        format!("{text}.{}", lies.signature.as_ref().unwrap_or(&signature))
    }

    fn settings(&self) -> Settings {
        let roles = [("ops", Role::Operator), ("everybody", Role::Viewer)];
        Settings {
            issuer: self.issuer(),
            client_id: "deeptrace".to_owned(),
            client_secret: SECRET.to_owned(),
            scopes: vec!["profile".to_owned()],
            roles_claim: "groups".to_owned(),
            roles: roles.into_iter().map(|(value, role)| (value.to_owned(), role)).collect(),
            default_role: None,
            services_claim: String::new(),
            audience: "https://traces.example".to_owned(),
            label: "Example ID".to_owned(),
            ca_file: None,
        }
    }

    fn server(&self) -> Server {
        Server::start_with(rules(), Some(Provider::new(self.settings()).unwrap()))
    }
}

/// A browser on its way.
struct Browser<'a> {
    server: &'a Server,
    cookie: String,
    sent: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    /// Is sent to the provider.
    fn begin(server: &'a Server) -> Self {
        let answer = begin(server);
        assert_eq!(answer.status, 200, "{answer:?}");
        let set = answer.headers["set-cookie"].to_str().unwrap();
        assert!(set.contains("; Path=/login/oidc;") && set.ends_with("HttpOnly; SameSite=Strict"));
        let url: openidconnect::url::Url = answer.json()["url"].as_str().unwrap().parse().unwrap();
        let sent = url.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
        Self { server, cookie: answer.cookie(), sent }
    }

    /// Logs in there; returns with what it was given.
    fn there(&self, fake: &Fake) -> Value {
        let code = format!("code-{}", fake.lies.lock().unwrap().begun.len());
        fake.lie(|lies| drop(lies.begun.insert(code.clone(), self.sent.clone())));
        json!({"code": code, "state": self.sent["state"], "iss": fake.issuer()})
    }

    fn back(&self, given: &Value) -> Answer {
        let own = format!("http://{}", self.server.address);
        let headers = [("cookie", self.cookie.as_str()), ("origin", own.as_str())];
        self.server.ask("POST", "/login/oidc/code", &headers, &given.to_string())
    }
}

fn begin(server: &Server) -> Answer {
    let own = format!("http://{}", server.address);
    server.ask("POST", "/login/oidc", &[("origin", &own)], "")
}

/// All of it, with what the provider does.
fn log_in(fake: &Fake, server: &Server) -> Answer {
    let browser = Browser::begin(server);
    browser.back(&browser.there(fake))
}

#[test]
fn who_comes_back_with_a_code_has_a_session_with_their_role() {
    let fake = Fake::start();
    let server = fake.server();
    let who = server.ask("GET", "/login", &[], "").json();
    assert_eq!(who, json!({"required": true, "caller": null, "oidc": "Example ID"}));

    let browser = Browser::begin(&server);
    let sent = |name: &str| browser.sent[name].as_str();
    assert_eq!(sent("redirect_uri"), format!("http://{}/", server.address));
    assert_eq!((sent("response_type"), sent("client_id")), ("code", "deeptrace"));
    assert_eq!((sent("code_challenge_method"), sent("scope")), ("S256", "openid profile"));

    let answer = browser.back(&browser.there(&fake));
    assert_eq!(answer.status, 200, "{answer:?}");
    let caller = json!({"kind": "oidc", "name": "248289761001", "label": "anna",
                        "role": "operator", "services": null});
    assert_eq!(answer.json(), caller);
    let set: Vec<&str> =
        answer.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    assert!(
        set[0].starts_with("deeptrace_session=oidc:") && set[0].contains("HttpOnly"),
        "{set:?}"
    );
    assert!(set[1].starts_with("deeptrace_login=;") && set[1].contains("Max-Age=0"), "{set:?}");

    // It is a session as any: it reads, needs an Origin for a change, has its role, and ends.
    let (own, cookie) = (format!("http://{}", server.address), answer.cookie());
    let with_cookie = ("cookie", cookie.as_str());
    assert_eq!(server.ask("GET", "/login", &[with_cookie], "").json()["caller"], caller);
    assert_eq!(server.ask("GET", "/traces", &[with_cookie], "").status, 200);
    assert_eq!(server.ask("POST", "/config/reload", &[with_cookie], "").status, 403);
    let own = ("origin", own.as_str());
    assert_eq!(server.ask("POST", "/config/reload", &[with_cookie, own], "").status, 200);
    assert_eq!(server.ask("GET", "/users", &[with_cookie], "").status, 403);
    assert_eq!(server.ask("POST", "/logout", &[with_cookie, own], "").status, 200);
    assert_eq!(server.ask("GET", "/traces", &[with_cookie], "").status, 401);
}

#[test]
fn a_token_that_proves_nothing_is_refused() {
    let fake = Fake::start();
    let server = fake.server();
    type Lie = fn(&mut Lies);
    let lies: &[(&str, u16, Lie)] = &[
        ("the truth", 200, |_| ()),
        ("a clock that is a little slow", 200, |it| it.claims = json!({"exp": now() - 30})),
        ("a clock that is a little fast", 200, |it| it.claims = json!({"iat": now() + 30})),
        ("expired", 401, |it| it.claims = json!({"exp": now() - 90})),
        ("issued in the future", 401, |it| it.claims = json!({"iat": now() + 90})),
        ("not yet valid", 401, |it| it.claims = json!({"nbf": now() + 90})),
        ("no end", 401, |it| it.claims = json!({"exp": null})),
        ("another issuer", 401, |it| it.claims = json!({"iss": "http://127.0.0.1:1"})),
        ("another audience", 401, |it| it.claims = json!({"aud": "another"})),
        ("one more audience", 401, |it| it.claims = json!({"aud": ["deeptrace", "another"]})),
        ("another party", 401, |it| it.claims = json!({"azp": "another"})),
        ("another nonce", 401, |it| it.claims = json!({"nonce": "another"})),
        ("no nonce", 401, |it| it.claims = json!({"nonce": null})),
        ("no subject", 401, |it| it.claims = json!({"sub": ""})),
        ("alg none", 401, |it| {
            it.header = json!({"alg": "none", "kid": null});
            it.signature = Some(String::new());
        }),
        ("alg none with a signature", 401, |it| it.header = json!({"alg": "none"})),
        ("the public key as a secret", 401, |it| it.header = json!({"alg": "HS256"})),
        ("no signature", 401, |it| it.signature = Some(String::new())),
        ("a signature of something else", 401, |it| {
            it.signature = Some(URL_SAFE_NO_PAD.encode([7; 64]));
        }),
        ("a key that is not shown", 401, |it| it.signs = 9),
        ("that key under another's name", 401, |it| {
            it.signs = 9;
            it.header = json!({"kid": "key-1"});
        }),
        ("an access token", 401, |it| it.header = json!({"typ": "at+jwt"})),
        ("no role", 403, |it| it.claims = json!({"groups": ["guests"]})),
        ("roles by our own names", 403, |it| it.claims = json!({"groups": ["admin"]})),
    ];
    for (what, status, lie) in lies {
        let browser = Browser::begin(&server);
        fake.lie(lie);
        let answer = browser.back(&browser.there(&fake));
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
        assert_eq!(answer.headers.contains_key("set-cookie"), *status == 200, "{what}");
        assert!(!answer.text.contains(SECRET), "{what}");
        fake.lie(|it| {
            (it.signs, it.header, it.claims, it.signature) = (1, json!({}), json!({}), None);
        });
    }
    assert_eq!(log_in(&fake, &server).status, 200);
}

#[test]
fn a_code_is_good_once_and_for_the_browser_that_asked() {
    let fake = Fake::start();
    let server = fake.server();
    let (browser, other) = (Browser::begin(&server), Browser::begin(&server));
    let given = browser.there(&fake);
    let without = Browser { server: &server, cookie: "a=b".to_owned(), sent: BTreeMap::new() };
    assert_eq!(without.back(&given).status, 401, "no attempt");
    assert_eq!(other.back(&given).status, 401, "the attempt of another");
    let with = |name: &str, value: &str| browser.back(&put(given.clone(), &json!({name: value})));
    assert_eq!(with("state", &other.sent["state"]).status, 401);
    assert_eq!(with("iss", "https://another.example").status, 401);
    assert_eq!(with("code", "made up").status, 401);
    // The verifier is the browser's own, so the code of another is of no use to it.
    let stolen = put(given.clone(), &json!({"state": other.sent["state"]}));
    let at_own = |browser: &Browser<'_>, given: &Value| browser.back(given).status;
    fake.lie(|it| drop(it.begun.insert("kept".to_owned(), browser.sent.clone())));
    assert_eq!(at_own(&other, &put(stolen, &json!({"code": "kept"}))), 401);
    assert_eq!(at_own(&browser, &given), 200);
    assert_eq!(at_own(&browser, &given), 401, "used");
    let own = [("cookie", browser.cookie.as_str())];
    let answer = server.ask("POST", "/login/oidc/code", &own, &given.to_string());
    assert_eq!(answer.status, 400, "without Origin: {answer:?}");
    let foreign = [own[0], ("origin", "http://evil.example")];
    assert_eq!(server.ask("POST", "/login/oidc", &foreign, "").status, 403);
}

#[test]
fn keys_are_asked_for_anew_when_they_change_and_not_for_nonsense() {
    let fake = Fake::start();
    let server = fake.server();
    assert_eq!(log_in(&fake, &server).status, 200);
    fake.lie(|it| (it.signs, it.shows) = (2, 2));
    assert_eq!(log_in(&fake, &server).status, 200);
    let asked = fake.lies.lock().unwrap().asked;
    assert_eq!(asked, 2);
    let nonsense = fake.sign(&json!({"aud": "https://traces.example"}));
    let nonsense = format!("{}AAAA", &nonsense[..nonsense.len() - 4]);
    for _ in 0..100 {
        assert_eq!(server.bear("GET", "/traces", &nonsense, "").status, 401);
    }
    let asked = fake.lies.lock().unwrap().asked - asked;
    assert!((1..50).contains(&asked), "{asked} times");
}

#[test]
fn programs_bear_access_tokens_of_the_provider() {
    let fake = Fake::start();
    let server = fake.server();
    let bear = |header: Value, claims: Value| {
        fake.lie(|it| (it.header, it.claims) = (header, claims));
        let token = fake.sign(&json!({"aud": "https://traces.example"}));
        server.bear("GET", "/traces", &token, "").status
    };
    let typ = json!({"typ": "at+jwt"});
    assert_eq!(bear(typ.clone(), json!({})), 200);
    assert_eq!(bear(json!({"typ": "application/at+jwt"}), json!({})), 200);
    assert_eq!(bear(json!({}), json!({})), 401, "no type");
    assert_eq!(bear(json!({"typ": "JWT"}), json!({})), 401);
    assert_eq!(bear(typ.clone(), json!({"aud": "deeptrace"})), 401, "an ID token's audience");
    assert_eq!(bear(typ.clone(), json!({"exp": now() - 90})), 401);
    assert_eq!(bear(typ.clone(), json!({"groups": []})), 403);
    let settings = Settings { audience: String::new(), ..fake.settings() };
    let closed = Server::start_with(rules(), Some(Provider::new(settings).unwrap()));
    fake.lie(|it| (it.header, it.claims) = (typ, json!({})));
    let token = fake.sign(&json!({"aud": ""}));
    assert_eq!(closed.bear("GET", "/traces", &token, "").status, 401);
}

#[test]
fn a_session_ends_where_the_roles_are_given_otherwise() {
    let fake = Fake::start();
    let server = fake.server();
    let cookie = log_in(&fake, &server).cookie();
    let sees = |settings: Option<Settings>| {
        let provider = settings.map(|settings| Provider::new(settings).unwrap());
        let replica = server.replica_with(rules(), provider);
        replica.ask("GET", "/traces", &[("cookie", &cookie)], "").status
    };
    assert_eq!(sees(Some(fake.settings())), 200);
    let mut fewer = fake.settings();
    fewer.roles.remove("ops");
    assert_eq!(sees(Some(fewer)), 401);
    assert_eq!(sees(None), 401);
}

#[test]
fn a_provider_that_is_away_is_said_to_be_and_passwords_go_on() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let fake = Fake::start();
    let settings = Settings { issuer: format!("http://{address}"), ..fake.settings() };
    let server = Server::start_with(rules(), Some(Provider::new(settings).unwrap()));
    let answer = begin(&server);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text.contains("provider of single sign-on"), "{answer:?}");
    server.user("anna", Role::Analyst, "correct horse battery");
    assert_eq!(server.log_in("anna", "correct horse battery").status, 200);
    // One whose name is another than the one it was asked under.
    let settings =
        Settings { issuer: format!("http://localhost:{}", fake.address.port()), ..fake.settings() };
    let server = Server::start_with(rules(), Some(Provider::new(settings).unwrap()));
    assert_eq!(begin(&server).status, 503);
    let server = Server::start(rules());
    assert_eq!(begin(&server).status, 404);
}

#[test]
fn the_audit_log_has_the_subject_and_no_secret() {
    let fake = Fake::start();
    let server = fake.server();
    let cookie = log_in(&fake, &server).cookie();
    assert_eq!(server.ask("GET", "/traces", &[("cookie", &cookie)], "").status, 200);
    fake.lie(|it| it.claims = json!({"groups": [], "sub": "nobody here"}));
    assert_eq!(log_in(&fake, &server).status, 403);
    // Kept at once because it is a change; the lines before it are kept before it.
    assert_eq!(server.bear("POST", "/config/reload", server.admin.as_str(), "").status, 200);
    let lines = server.bear("GET", "/audit", server.admin.as_str(), "").json();
    let line = |who: &str, action: &str, subject: Option<&str>| {
        let lines = lines["lines"].as_array().unwrap().iter();
        let mut found = lines.filter(|it| it["who"] == who && it["action"] == action);
        found.any(|it| it["details"]["subject"].as_str() == subject)
    };
    let post = "POST /login/oidc/code";
    assert!(line("anonymous", post, Some("248289761001")), "{lines}");
    assert!(line("anonymous", post, Some("nobody here")), "{lines}");
    assert!(line("oidc:248289761001", "GET /traces", None), "{lines}");
    let text = lines.to_string();
    let secret = cookie.rsplit('/').next().unwrap();
    assert!(!text.contains(secret) && !text.contains("code-"), "{text}");
}

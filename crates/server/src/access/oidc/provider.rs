//! Provider: what is known of it, and what its tokens prove.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenVerifier,
    CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, JsonWebTokenType,
    Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, TokenResponse,
};
use serde_json::Value;

use super::attempt::Attempt;
use super::error::OidcError;
use super::web::{Web, WebError};
use super::{Identity, Settings};
use crate::access::pace::Pace;
use crate::access::secret::sha256_hex;

/// For how long is believed what a provider said of itself, where somebody logs in: that it is away is
/// to be known before a browser is sent there.
const FRESH: Duration = Duration::from_secs(60);
/// The same, where a program bears a token.
const BELIEVED: Duration = Duration::from_secs(3_600);
/// Clocks may differ by so much.
const SKEW: Duration = Duration::from_secs(60);
/// Keys are asked for anew because of tokens, so many times at once and then once in so many seconds:
/// whoever sends nonsense must not have us ask the provider each time.
const RENEWALS: (f64, f64) = (5.0, 10.0);
/// Type of access tokens (RFC 9068 §2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// Signatures that are believed: by private keys of the provider only. `none` is nobody's, and who knows
/// the client's secret (HS256 and the like) could make tokens.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider, with what is known of it.
pub struct Provider {
    pub(super) settings: Settings,
    pub(super) issuer: IssuerUrl,
    web: Web,
    known: Mutex<Option<(Instant, Arc<CoreProviderMetadata>)>>,
    renewals: Pace,
}

impl Provider {
    /// Asks nothing yet: a provider that is away keeps no server from starting.
    pub fn new(settings: Settings) -> Result<Self, WebError> {
        let issuer = IssuerUrl::new(settings.issuer.clone());
        let issuer = issuer.map_err(|error| WebError::of_address(&error))?;
        let web = Web::new(settings.ca_file.as_deref())?;
        let renewals = Pace::new(1.0 / RENEWALS.1, RENEWALS.0);
        Ok(Self { settings, issuer, web, known: Mutex::default(), renewals })
    }

    /// What the button says.
    pub(in crate::access) fn label(&self) -> &str {
        &self.settings.label
    }

    /// Changes whenever the same token could make somebody another caller: sessions of before end.
    pub(in crate::access) fn fingerprint(&self) -> String {
        self.settings.fingerprint()
    }

    /// Under which sessions of somebody are kept.
    pub(in crate::access) fn key(&self, identity: &Identity) -> String {
        sha256_hex(format!("{} {}", self.settings.issuer, identity.subject).as_bytes())
    }

    /// Where a browser goes to log in, to come back to `page`.
    pub(super) fn address(&self, attempt: &Attempt, page: &str) -> Result<String, OidcError> {
        let metadata = self.metadata(FRESH)?;
        let client = self.client(&metadata, page)?;
        let verifier = PkceCodeVerifier::new(attempt.verifier());
        let (state, nonce) = (attempt.state(), attempt.nonce());
        let request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(self.settings.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        let (url, _, _) = request.url();
        Ok(url.to_string())
    }

    /// Who came back to `page` with `code`: a redirect there was asked for.
    pub(super) fn redeem(
        &self,
        attempt: &Attempt,
        code: String,
        page: &str,
    ) -> Result<Identity, OidcError> {
        let metadata = self.metadata(FRESH)?;
        let client = self.client(&metadata, page)?;
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|_| away("it names no token endpoint"))?;
        let answer = request
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier()))
            .request(&|request| self.web.ask(request));
        let answer = answer.map_err(not_redeemed)?;
        let token = answer.id_token();
        let token = token.ok_or_else(|| refused("the provider gave no ID token"))?;
        let nonce = Nonce::new(attempt.nonce());
        self.verify(&metadata, |metadata| {
            let verifier = self.verifier(metadata, &self.settings.client_id);
            token.claims(&verifier, &nonce).map(drop)
        })?;
        self.identity(&token.to_string(), &self.settings.client_id)
    }

    /// Who bears this access token; `None` where it cannot be one, or none is taken.
    pub(in crate::access) fn bearer(&self, given: &str) -> Option<Result<Identity, OidcError>> {
        let is_jwt = given.bytes().filter(|byte| *byte == b'.').count() == 2;
        (is_jwt && !self.settings.audience.is_empty()).then(|| self.borne(given))
    }

    fn borne(&self, given: &str) -> Result<Identity, OidcError> {
        let token = CoreIdToken::from_str(given);
        let token = token.map_err(|_| refused("the token is no JWT with the claims it needs"))?;
        let metadata = self.metadata(BELIEVED)?;
        self.verify(&metadata, |metadata| {
            let typ = JsonWebTokenType::new(ACCESS_TOKEN.to_owned()).normalize();
            let verifier =
                self.verifier(metadata, &self.settings.audience).set_allowed_jose_types(typ.ok());
            token.claims(&verifier, |_: Option<&Nonce>| Ok(())).map(drop)
        })?;
        // The verifier lets pass what has no type: an ID token of the same provider has none.
        let header = part(given, 0)?;
        let typ = header["typ"].as_str().unwrap_or_default().to_ascii_lowercase();
        if typ.trim_start_matches("application/") != ACCESS_TOKEN {
            return Err(refused("the token is of another type than at+jwt"));
        }
        self.identity(given, "")
    }

    /// What a token claims that was verified. `client`: whom it was given to, where it says so.
    fn identity(&self, token: &str, client: &str) -> Result<Identity, OidcError> {
        let claims = part(token, 1)?;
        let begins = claims["nbf"].as_f64().unwrap_or_default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if begins > (now + SKEW).as_secs_f64() {
            return Err(refused("the token is not valid yet"));
        }
        let party = claims["azp"].as_str().unwrap_or(client);
        if !client.is_empty() && party != client {
            return Err(refused("the token was given to another program"));
        }
        Identity::of(&claims, &self.settings)
    }

    /// Checks with the keys that are known, and with those of now where that fails for want of a key.
    fn verify(
        &self,
        metadata: &CoreProviderMetadata,
        check: impl Fn(&CoreProviderMetadata) -> Result<(), ClaimsVerificationError>,
    ) -> Result<(), OidcError> {
        let checked = match check(metadata) {
            Err(error) if is_of_keys(&error) => {
                self.renewals.take("keys", Instant::now()).map_err(|_| wrong(&error))?;
                check(&*self.metadata(Duration::ZERO)?)
            }
            checked => checked,
        };
        checked.map_err(|error| wrong(&error))
    }

    fn verifier<'a>(
        &self,
        metadata: &CoreProviderMetadata,
        audience: &str,
    ) -> CoreIdTokenVerifier<'a> {
        let (audience, keys) = (ClientId::new(audience.to_owned()), metadata.jwks().clone());
        CoreIdTokenVerifier::new_public_client(audience, self.issuer.clone(), keys)
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(|| (SystemTime::now() - SKEW).into())
            .set_issue_time_verifier_fn(|issued| {
                let is_past = SystemTime::from(issued) <= SystemTime::now() + SKEW;
                is_past.then_some(()).ok_or_else(|| "issued in the future".to_owned())
            })
    }

    fn client(&self, metadata: &CoreProviderMetadata, page: &str) -> Result<Client, OidcError> {
        let Settings { client_id, client_secret, .. } = &self.settings;
        let page = RedirectUrl::new(page.to_owned());
        let page = page.map_err(|_| refused("the header Origin is no address"))?;
        let secret = (!client_secret.is_empty()).then(|| ClientSecret::new(client_secret.clone()));
        let (metadata, id) = (metadata.clone(), ClientId::new(client_id.clone()));
        let methods = metadata.token_endpoint_auth_methods_supported();
        let takes_basic = methods
            .is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let way = if takes_basic { AuthType::BasicAuth } else { AuthType::RequestBody };
        let client = CoreClient::from_provider_metadata(metadata, id, secret);
        Ok(client.set_redirect_uri(page).set_auth_type(way))
    }

    /// What the provider says of itself, with its keys, not older than `age`. One asks, others wait.
    fn metadata(&self, age: Duration) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.as_ref().filter(|(since, _)| since.elapsed() < age);
        if let Some((_, metadata)) = fresh {
            return Ok(Arc::clone(metadata));
        }
        let found = CoreProviderMetadata::discover(&self.issuer, &|request| self.web.ask(request));
        let found = Arc::new(found.map_err(not_discovered)?);
        *known = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }
}

/// Header (0) or claims (1) of a compact JWS (RFC 7515 §7.1).
fn part(token: &str, index: usize) -> Result<Value, OidcError> {
    let coded = token.split('.').nth(index).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(coded).ok();
    let value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    value.ok_or_else(|| refused("the token is no JWT"))
}

fn is_of_keys(error: &ClaimsVerificationError) -> bool {
    // A key may have been replaced by another one of the same name, or of none.
    use SignatureVerificationError::{CryptoError, NoMatchingKey};
    matches!(error, ClaimsVerificationError::SignatureVerification(NoMatchingKey | CryptoError(_)))
}

fn away(reason: impl Into<String>) -> OidcError {
    let reason = reason.into();
    tracing::warn!(%reason, "single sign-on: the provider cannot be used");
    OidcError::Away(reason)
}

fn refused(reason: impl Into<String>) -> OidcError {
    OidcError::Refused(reason.into())
}

/// What the verifier says names what the token claims, which is not for whoever made it up.
fn wrong(error: &ClaimsVerificationError) -> OidcError {
    tracing::info!(%error, "single sign-on: a token was refused");
    refused(match error {
        ClaimsVerificationError::Expired(_) => "the token has expired",
        ClaimsVerificationError::InvalidAudience(_) => "the token is for another program",
        ClaimsVerificationError::InvalidIssuer(_) => "the token is of another provider",
        ClaimsVerificationError::InvalidNonce(_) => "the token is of another login",
        ClaimsVerificationError::SignatureVerification(_) => {
            "the token is not signed as it must be"
        }
        _ => "the token is not what it must be",
    })
}

/// Without the body: what is no answer may be anything.
fn not_discovered(error: DiscoveryError<WebError>) -> OidcError {
    match error {
        DiscoveryError::Request(error) => away(error.to_string()),
        DiscoveryError::Response(status, ..) => away(format!("it answers {status}")),
        DiscoveryError::Validation(reason) => away(reason),
        _ => away("what it says of itself makes no sense"),
    }
}

fn not_redeemed<T: openidconnect::ErrorResponse>(
    error: RequestTokenError<WebError, T>,
) -> OidcError {
    match error {
        RequestTokenError::Request(error) => away(error.to_string()),
        // A code that was used, is too old, or is not for us; or a wrong secret of ours.
        RequestTokenError::ServerResponse(_) => refused("the provider refuses the code"),
        _ => refused("the provider's answer to the code holds no token that can be read"),
    }
}

//! Webhook: a receiver, and how a message is signed and posted: Standard Webhooks 1.0
//! (standardwebhooks.com), HMAC-SHA256 over id, time and body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deeptrace_model::{Duration, WallTime};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Bytes of a secret, at least: fewer could be guessed.
const SECRET_MIN: usize = 16;

/// A receiver.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// Unique.
    pub name: String,
    /// Where messages are posted to.
    pub url: String,
    /// Signs; empty: messages are not signed.
    pub secret: Vec<u8>,
    /// How long what is new waits for others.
    pub group_wait: Duration,
    /// After which what goes on is told again.
    pub repeat_interval: Duration,
    /// How long it may take.
    pub timeout: Duration,
}

/// How a message went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the webhook.
    pub webhook: String,
    /// Whether the receiver took it: its status is 2xx.
    pub delivered: bool,
    /// Its HTTP status; absent where none came.
    pub status: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
}

/// The bytes of a secret: `whsec_` and base64 as Standard Webhooks writes them, else the text itself.
pub fn secret(text: &str) -> Result<Vec<u8>, String> {
    let bytes = match text.strip_prefix("whsec_") {
        Some(coded) => {
            STANDARD.decode(coded).map_err(|_| "what follows whsec_ is no base64".to_owned())?
        }
        None => text.as_bytes().to_vec(),
    };
    if !text.is_empty() && bytes.len() < SECRET_MIN {
        return Err(format!("give at least {SECRET_MIN} bytes, e.g. of `openssl rand -base64 24`"));
    }
    Ok(bytes)
}

impl Webhook {
    /// Posts `body`, once. Two attempts for one message have the same `id`.
    pub fn post(&self, id: u64, body: &[u8], now: WallTime) -> Outcome {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(std::time::Duration::from_nanos(self.timeout.0)))
            .http_status_as_error(false)
            // A receiver that moved is told in the configuration.
            .max_redirects(0)
            .proxy(None)
            .build();
        let agent = ureq::Agent::from(config);
        let (id, seconds) = (format!("msg_{id:016x}"), now.0 / 1_000_000_000);
        let mut request = agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("user-agent", concat!("deeptrace/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds.to_string());
        if !self.secret.is_empty() {
            request = request.header("webhook-signature", self.sign(&id, seconds, body));
        }
        let (delivered, status, error) = match request.send(body) {
            Ok(response) => {
                let status = response.status();
                let error = format!("the receiver answers {status}");
                (
                    status.is_success(),
                    Some(status.as_u16()),
                    (!status.is_success()).then_some(error),
                )
            }
            // Its text may hold the address, which may hold a secret.
            Err(error) => (false, None, Some(error.to_string().replace(&self.url, "the receiver"))),
        };
        Outcome { webhook: self.name.clone(), delivered, status, error }
    }

    fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Without the secret and the address, which may carry one.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own tests.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let webhook = Webhook {
            name: String::new(),
            url: String::new(),
            secret: secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            group_wait: Duration(0),
            repeat_interval: Duration(0),
            timeout: Duration(0),
        };
        let signature =
            webhook.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(secret("").unwrap().is_empty());
        assert!(secret("hunter2").is_err());
        assert_eq!(secret("0123456789abcdef").unwrap().len(), 16);
    }
}

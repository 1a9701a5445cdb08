//! Secrets: passwords as argon2id hashes (RFC 9106), tokens as random bytes of which only a hash is
//! kept. A token has 256 bits of the system's randomness, so a plain SHA-256 of it tells nothing.

use std::sync::{Mutex, OnceLock, PoisonError};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AccessError;

/// Bytes of a password: at least (NIST SP 800-63B asks for 8), at most.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// One hash at a time: each takes 19 MiB and a processor for some 30 ms.
static HASHING: Mutex<()> = Mutex::new(());

/// `N` random bytes as lower-case hex.
pub fn random_hex<const N: usize>() -> Result<String, AccessError> {
    random::<N>().map(|bytes| hex(&bytes))
}

fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AccessError::Secret(error.to_string()))?;
    Ok(bytes)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 as lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether two texts are equal; takes the same time for any two of these lengths.
pub fn is_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The argon2id hash of a password with a salt of its own, as PHC string.
pub fn hash_password(password: &str) -> Result<String, AccessError> {
    if !PASSWORD_BYTES.contains(&password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        let message = format!("a password has at least {least} and at most {most} bytes");
        return Err(AccessError::Invalid(message));
    }
    let salt = random::<16>()?;
    let _one = HASHING.lock().unwrap_or_else(PoisonError::into_inner);
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| AccessError::Secret(error.to_string()))
}

/// Whether `password` is the one of `hash`. Without a hash (there is no such user) the answer is no
/// after the same work, so that the time does not tell who exists.
pub fn is_password(hash: Option<&str>, password: &str) -> bool {
    let parsed = hash.and_then(|hash| PasswordHash::new(hash).ok());
    let Some(parsed) = parsed.or_else(|| PasswordHash::new(nobody()).ok()) else { return false };
    let _one = HASHING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_right = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
    is_right && hash.is_some()
}

/// The hash of a password that nobody knows.
fn nobody() -> &'static str {
    static NOBODY: OnceLock<String> = OnceLock::new();
    NOBODY.get_or_init(|| {
        random_hex::<32>().and_then(|password| hash_password(&password)).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_argon2id_with_a_salt_of_its_own() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hash_password("correct horse").unwrap());
        assert!(is_password(Some(&hash), "correct horse"));
        assert!(!is_password(Some(&hash), "correct horsf"));
        assert!(!is_password(None, "correct horse"));
        assert!(!is_password(Some("no hash"), "correct horse"));
        assert!(hash_password("short").is_err());
        assert!(hash_password(&"x".repeat(1025)).is_err());
    }
}

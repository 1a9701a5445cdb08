//! Receipt: what an erasure did, signed with Ed25519 (RFC 8032), so that it can be shown later that it
//! was done and that nobody changed what was said of it.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::{NoRandom, Tombstone, hex, random};

/// What is signed: in the order of its fields, as JSON without spaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Of this form; 1.
    pub version: u32,
    /// Version of the program.
    pub deeptrace: String,
    /// What was erased, without the value.
    pub tombstone: Tombstone,
    /// When it began.
    pub started_unix_nano: u64,
    /// When nothing was left.
    pub ended_unix_nano: u64,
    /// Spans removed.
    pub spans: u64,
    /// Links removed.
    pub links: u64,
    /// Among these, what could not be read any more but may have been meant.
    pub unreadable: u64,
    /// Name of the storage backend.
    pub backend: String,
    /// Folders with backups that know the tombstone: it is applied when one of them is restored.
    pub backups: Vec<String>,
}

/// A statement with its signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What was done.
    pub statement: Statement,
    /// Ed25519 public key of whoever did it, 64 hex digits.
    #[serde(with = "hex")]
    pub public_key: [u8; 32],
    /// Signature of the statement, 128 hex digits.
    #[serde(with = "hex")]
    pub signature: [u8; 64],
}

/// The key that signs.
pub struct Key(Ed25519KeyPair);

/// The bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ed25519 key has 64 hex digits")]
pub struct KeyError;

/// A receipt does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Something in it was changed, or it was never signed.
    #[error("its signature is wrong: it was changed after it was signed")]
    Signature,
    /// It was signed, but not by the expected one.
    #[error("it was signed with another key than the one expected")]
    Signer,
}

impl Key {
    /// A new key, with the text that [`Key::read`] reads.
    pub fn make() -> Result<(Self, String), NoRandom> {
        let text = hex::text(&random::<32>()?);
        let key = Self::read(&text).map_err(|_| NoRandom)?;
        Ok((key, text))
    }

    /// The key of a text (a seed of 32 bytes as hex, RFC 8032 §5.1.5).
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let seed = hex::bytes(text.trim()).ok_or(KeyError)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|_| KeyError)
    }

    /// A public half, of 64 hex digits.
    pub fn read_public(text: &str) -> Result<[u8; 32], KeyError> {
        hex::bytes(text.trim()).and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError)
    }

    /// Its public half.
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        public
    }

    /// Signs.
    pub fn sign(&self, statement: Statement) -> Receipt {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(&statement.bytes()).as_ref());
        Receipt { statement, public_key: self.public(), signature }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(public {})", hex::text(&self.public()))
    }
}

impl Statement {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct with text keys becomes JSON")
    }
}

impl Receipt {
    /// Whether it says what was signed; with `signer`, also by whom.
    pub fn verify(&self, signer: Option<&[u8; 32]>) -> Result<(), VerifyError> {
        let key = UnparsedPublicKey::new(&ED25519, self.public_key);
        key.verify(&self.statement.bytes(), &self.signature).map_err(|_| VerifyError::Signature)?;
        match signer {
            Some(signer) if *signer != self.public_key => Err(VerifyError::Signer),
            _ => Ok(()),
        }
    }
}

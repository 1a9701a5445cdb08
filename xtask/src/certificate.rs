//! Certificate: of a server on this host, signed by itself, for tests of what is under TLS.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{child, packages};

/// Files in PEM.
pub struct Certificate {
    /// The certificate, which is also the authority that its clients trust.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Certificate {
    /// Makes `cert.pem` and `key.pem` in `folder`, for `localhost` and 127.0.0.1.
    pub fn make(folder: &Path) -> Result<Self> {
        packages::ensure(&["openssl"])?;
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (certificate, key) = (file("cert.pem"), file("key.pem"));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        make.args(["-nodes", "-days", "9", "-subj", "/CN=localhost", "-addext"]);
        make.args(["subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", &key]);
        child::succeed(make.args(["-out", &certificate]).stderr(Stdio::null()))?;
        Ok(Self { certificate, key })
    }
}

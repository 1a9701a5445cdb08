//! TLS: certificates and keys out of PEM files (RFC 7468), for who listens and for who calls. They
//! are read again when they were renewed; a bad file never replaces a good one. TLS 1.2 and 1.3;
//! HTTP/2 and HTTP/1.1 are offered by ALPN (RFC 7301).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes of a PEM file, at most.
const PEM_MAX: u64 = 4 << 20;

/// The files of who listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate, followed by those that lead to a root.
    pub cert_file: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key_file: PathBuf,
    /// Who calls needs a certificate that one of these has issued; `None`: nobody needs one.
    pub client_ca_file: Option<PathBuf>,
}

/// The files of who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Roots that are trusted; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Its own certificate and key, where the server asks for one.
    pub identity: Option<Identity>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those that lead to a root.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// Why files give no TLS; the text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as what it should be.
    #[error("cannot use {}: {problem}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The files do not go together.
    #[error("{} and {} do not go together: {error}", .cert_file.display(), .key_file.display())]
    Pair {
        /// The certificate.
        cert_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// What is wrong.
        error: rustls::Error,
    },
    /// The system trusts nobody.
    #[error(
        "this system has no trusted certificates ({0}); install ca-certificates, or name a ca_file"
    )]
    NoRoots(String),
}

/// TLS of a listener. Cloned, it is the same.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

/// Files that were read and are right, not in use yet.
pub struct Renewed(Arc<ServerConfig>);

impl Tls {
    /// With the files as they are now.
    pub fn open(files: &ServerFiles) -> Result<Self, TlsError> {
        let Renewed(config) = Self::read(files)?;
        Ok(Self(Arc::new(RwLock::new(config))))
    }

    /// Reads files, and changes nothing.
    pub fn read(files: &ServerFiles) -> Result<Renewed, TlsError> {
        let chain = certificates(&files.cert_file)?;
        let key = key(&files.key_file)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| pair(&files.cert_file, &files.key_file, error))?;
        let builder = match &files.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(roots(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().map_err(|e| wrong(file, e))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| pair(&files.cert_file, &files.key_file, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Renewed(Arc::new(config)))
    }

    /// Hand-shakes that begin from now on use these.
    pub fn renew(&self, Renewed(config): Renewed) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// What the next hand-shake uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without keys.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl ClientFiles {
    /// Reads the files; ALPN is left to who uses it.
    pub fn read(&self) -> Result<ClientConfig, TlsError> {
        let roots = match &self.ca_file {
            Some(file) => roots(file)?,
            None => system_roots()?,
        };
        let builder = client(roots)?;
        let Some(identity) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let (chain, key) = identity.read()?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| pair(&identity.cert_file, &identity.key_file, error))
    }

    /// Trusts nobody and reads nothing, for who speaks no TLS.
    pub fn unused() -> Result<ClientConfig, TlsError> {
        Ok(client(RootCertStore::empty())?.with_no_client_auth())
    }

    /// The trusted roots as DER, for a client that is not rustls itself.
    pub fn roots(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        match &self.ca_file {
            Some(file) => certificates(file),
            None => system_certificates(),
        }
    }
}

impl Identity {
    /// Reads both.
    pub fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        Ok((certificates(&self.cert_file)?, key(&self.key_file)?))
    }
}

fn client(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots))
        .map_err(|error| TlsError::NoRoots(error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| wrong(file, error))?;
    }
    Ok(roots)
}

/// Those that cannot be used are left out, as browsers do: a system has some of long ago.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates()?);
    Ok(roots)
}

fn system_certificates() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(errors.join("; ")));
    }
    Ok(found.certs)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found.map_err(|error| wrong(file, error))? {
        none if none.is_empty() => Err(wrong(file, "it holds no CERTIFICATE in PEM")),
        found => Ok(found),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(file)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| wrong(file, "it holds no private key in PEM that is not encrypted"))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let size = std::fs::metadata(file).map_err(|error| wrong(file, error))?.len();
    if size > PEM_MAX {
        return Err(wrong(file, "it is too large for a PEM file"));
    }
    std::fs::read(file).map_err(|error| wrong(file, error))
}

fn wrong(file: &Path, problem: impl fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), problem: problem.to_string() }
}

fn pair(cert_file: &Path, key_file: &Path, error: rustls::Error) -> TlsError {
    TlsError::Pair { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), error }
}

//! Asking a running agent or server: the address, the token from the data folder, and errors that
//! say what to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use deeptrace_http::{ClientFiles, ErrorShape, Token};
use deeptrace_store::{Holder, StoreError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::Common;

/// A running agent or server.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<Token>,
}

impl Client {
    /// Of the process at `url`; its token is read from the data folder, if it may be read.
    pub fn new(url: &str, common: &Common) -> Result<Self> {
        let tls = url.starts_with("https://").then(|| tls(&common.tls.files())).transpose();
        let tls = tls.with_context(|| format!("cannot ask {url}"))?;
        Ok(Self::with(url, &common.data_dir, tls.unwrap_or_default()))
    }

    /// Of the server at `url`; where nobody says, of the one that has the data folder, or that would have it.
    pub fn of_server(url: Option<&str>, common: &Common) -> Result<Self> {
        match url.map(str::to_owned).or_else(|| common.served_at()) {
            Some(url) => Self::new(&url, common),
            None => Self::new(&common.load()?.server.url(), common),
        }
    }

    /// Of the server that has the data folder, as `error` says.
    pub fn of_holder(error: StoreError, common: &Common) -> Result<Self> {
        match &error {
            StoreError::InUse { holder: Some(Holder { address: Some(address), .. }), .. } => {
                Self::new(address, common)
            }
            _ => Err(error).context("it serves no API that could be asked instead"),
        }
    }

    /// Of whoever listens at `url`, whatever its certificate says: it is sent no token.
    pub fn of_anybody(url: &str) -> Self {
        let tls = TlsConfig::builder().disable_verification(true).build();
        Self { token: None, ..Self::with(url, Path::new(""), tls) }
    }

    fn with(url: &str, data_dir: &Path, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(tls)
            .build();
        Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            token: Token::read(data_dir).ok(),
        }
    }

    /// `GET`, with the query's pairs encoded.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in query {
            request = request.query(*name, value);
        }
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        self.answer(request.call())
    }

    /// `POST` or `PUT` of JSON.
    pub fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &Value) -> Result<T> {
        let url = format!("{}{path}", self.url);
        let mut request = match method {
            Method::Post => self.agent.post(url),
            Method::Put => self.agent.put(url),
        };
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        self.answer(request.send_json(body))
    }

    /// `DELETE`.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut request = self.agent.delete(format!("{}{path}", self.url));
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        self.answer(request.call())
    }

    /// `DELETE`, with the query's pairs encoded.
    pub fn delete_where<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T> {
        let mut request = self.agent.delete(format!("{}{path}", self.url));
        for (name, value) in query {
            request = request.query(*name, value);
        }
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        self.answer(request.call())
    }

    /// `POST` of text.
    pub fn post_text<T: DeserializeOwned>(&self, path: &str, body: String) -> Result<T> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        self.answer(request.send(body))
    }

    fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {}", token.as_str()))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T> {
        let mut response = answer.with_context(|| match self.url.starts_with("https://") {
            true => format!("no answer from {}; see --server and --ca-file", self.url),
            false => {
                format!("nothing answers at {}; is it running? see --agent and --server", self.url)
            }
        })?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string();
        let body = body.with_context(|| format!("the answer of {} broke off", self.url))?;
        if !status.is_success() {
            match serde_json::from_str::<ErrorShape>(&body) {
                Ok(shape) => bail!("{}: {}", self.url, shape.error.message),
                Err(_) => bail!("{} answers {status} and is no deeptrace", self.url),
            }
        }
        serde_json::from_str(&body)
            .with_context(|| format!("{} gave an answer of another version", self.url))
    }
}

/// What is trusted and shown under TLS.
fn tls(files: &ClientFiles) -> Result<TlsConfig> {
    let roots: Vec<Certificate<'static>> =
        files.roots()?.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let identity = match &files.identity {
        None => None,
        Some(identity) => {
            // Read as a pair first: that says which file is wrong.
            let (chain, _) = identity.read()?;
            let chain: Vec<Certificate<'static>> =
                chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            let key = PrivateKey::from_pem(&std::fs::read(&identity.key_file)?)?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(identity)
        .build())
}

/// How JSON is sent.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// To make something or to have something done.
    Post,
    /// To change something.
    Put,
}

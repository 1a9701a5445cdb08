//! Asking a running agent or server: the address, the token from the data folder, and errors that
//! say what to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use deeptrace_http::{ErrorShape, Token};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A running agent or server.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<Token>,
}

impl Client {
    /// Of the process at `url`; its token is read from `data_dir`, if it may be read.
    pub fn new(url: &str, data_dir: &Path) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .proxy(None)
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
        let mut response = answer.with_context(|| {
            format!("nothing answers at {}; is it running? see --agent and --server", self.url)
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

/// How JSON is sent.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// To make something or to have something done.
    Post,
    /// To change something.
    Put,
}

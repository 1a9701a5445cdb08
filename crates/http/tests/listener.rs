//! The listener on real sockets: both versions of HTTP, in plain and under TLS; who is let go.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use deeptrace_http::{ClientFiles, Guard, Identity, Limits, Listener, ServerFiles, Tls};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// A folder with a root, and certificates that it issues.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Issues a certificate for `host` and its key as `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, host: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) =
            (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&cert_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity { cert_file, key_file }
    }

    fn server(&self, client_ca_file: Option<PathBuf>) -> ServerFiles {
        let Identity { cert_file, key_file } = self.issue("server", "localhost");
        ServerFiles { cert_file, key_file, client_ca_file }
    }

    fn client(&self, identity: Option<Identity>) -> ClientFiles {
        ClientFiles { ca_file: Some(self.path("ca.pem")), identity }
    }
}

/// A listener that answers with the version of HTTP that it was asked in.
async fn start(tls: Option<Tls>, limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
    let routes = Router::new()
        .route("/", get(|request: Request| async move { format!("{:?}", request.version()) }))
        .route("/", post(|body: Bytes| async move { body.len().to_string() }));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "--port").unwrap().with_tls(tls);
    let address = listener.address();
    let guard = Guard::of_host(address, Vec::new());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener.serve(routes, guard, limits, stopped));
    (address, stop)
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
) -> hyper::Result<String> {
    let request = hyper::Request::get("http://localhost/").header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let io = TokioIo::new(stream);
    let response = if is_http2 {
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        client.send_request(request).await?
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        client.send_request(request).await?
    };
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Asks under TLS, offering `alpn`.
async fn ask_tls(address: SocketAddr, files: &ClientFiles, alpn: &str) -> Result<String, String> {
    let mut config = files.read().unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    ask(stream, alpn == "h2").await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn both_versions_in_plain_and_under_tls() {
    let authority = Authority::new();
    let (plain, _stop) = start(None, Limits::default()).await;
    let tls = Tls::open(&authority.server(None)).unwrap();
    let (secured, _stop) = start(Some(tls), Limits::default()).await;
    let files = authority.client(None);
    for (is_http2, alpn, expected) in [(false, "http/1.1", "HTTP/1.1"), (true, "h2", "HTTP/2.0")] {
        let stream = TcpStream::connect(plain).await.unwrap();
        assert_eq!(ask(stream, is_http2).await.unwrap(), expected);
        assert_eq!(ask_tls(secured, &files, alpn).await.unwrap(), expected);
    }
    let stranger = Authority::new();
    let refused = ask_tls(secured, &stranger.client(None), "h2").await.unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn who_has_no_certificate_of_the_root_is_refused() {
    let authority = Authority::new();
    let tls = Tls::open(&authority.server(Some(authority.path("ca.pem")))).unwrap();
    let (address, _stop) = start(Some(tls), Limits::default()).await;
    let own = authority.issue("client", "agent");
    assert_eq!(ask_tls(address, &authority.client(Some(own)), "h2").await.unwrap(), "HTTP/2.0");
    ask_tls(address, &authority.client(None), "h2").await.unwrap_err();
    let stranger = Authority::new();
    let foreign = stranger.issue("client", "agent");
    ask_tls(address, &authority.client(Some(foreign)), "h2").await.unwrap_err();
}

#[tokio::test]
async fn a_bad_file_never_replaces_a_good_one() {
    let authority = Authority::new();
    let files = authority.server(None);
    let tls = Tls::open(&files).unwrap();
    let (address, _stop) = start(Some(tls.clone()), Limits::default()).await;
    let client = authority.client(None);
    let spoil: [(&Path, &[u8]); 3] =
        [(&files.cert_file, b"no certificate"), (&files.key_file, b""), (&files.key_file, KEY)];
    for (path, text) in spoil {
        let good = fs::read(path).unwrap();
        fs::write(path, text).unwrap();
        let error = Tls::read(&files).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
        fs::write(path, good).unwrap();
        assert_eq!(ask_tls(address, &client, "h2").await.unwrap(), "HTTP/2.0");
    }
    // Renewed by another authority: only who trusts that one gets through.
    let other = Authority::new();
    tls.renew(Tls::read(&other.server(None)).unwrap());
    ask_tls(address, &client, "h2").await.unwrap_err();
    assert_eq!(ask_tls(address, &other.client(None), "h2").await.unwrap(), "HTTP/2.0");
}

/// A key in PEM that is none.
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

/// Bodies that are on their way take room; who has no body, or a small one, is let in all the same.
#[tokio::test]
async fn bodies_share_a_bounded_room() {
    let limits = Limits { bodies_bytes: 1 << 20, ..Limits::default() };
    let (address, _stop) = start(None, limits).await;
    let post = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    // It says what it is going to send, and does not.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(post(900 << 10).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for (head, expected) in [
        (post(200 << 10), "HTTP/1.1 429 "),
        (post(0), "HTTP/1.1 200 "),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "HTTP/1.1 200 "),
    ] {
        let answer = answer(address, &head).await;
        assert!(answer.starts_with(expected), "{head}{answer}");
    }
    drop(slow);
    let begun = Instant::now();
    let whole = format!("{}{}", post(200 << 10), "x".repeat(200 << 10));
    while !answer(address, &whole).await.starts_with("HTTP/1.1 200 ") {
        assert!(begun.elapsed() < Duration::from_secs(20), "its room is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who is refused may send on, and looks for the answer when all is sent; up to a limit.
#[tokio::test]
async fn an_answer_does_not_cut_off_who_still_sends() {
    let limits = Limits { body_bytes: 64 << 10, bodies_bytes: 4 << 20, ..Limits::default() };
    let (address, _stop) = start(None, limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answered = async |path: &str, length: usize, expected: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
        let head = format!("{head}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let body = vec![b'x'; length];
        let (first, rest) = body.split_at(length.min(256 << 10));
        stream.write_all(first).await?;
        let mut answer = [0; 4096];
        let len = stream.read(&mut answer).await?;
        assert!(answer[..len].starts_with(expected.as_bytes()), "{path} {length}");
        stream.write_all(rest).await
    };
    answered("/", 3 << 20, "HTTP/1.1 413 ").await.unwrap();
    answered("/nowhere", 3 << 20, "HTTP/1.1 404 ").await.unwrap();
    answered("/", 10, "HTTP/1.1 200 ").await.unwrap();
    // Far more than anybody may send: no reason to listen to that.
    answered("/", 256 << 20, "HTTP/1.1 413 ").await.unwrap_err();
}

/// The first bytes of an answer.
async fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = [0; 64];
    let len = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// However little they say: the connection is closed by the listener, so that reading ends.
#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let authority = Authority::new();
    let limits = Limits { head_timeout: Duration::from_millis(200), ..Limits::default() };
    let tls = Tls::open(&authority.server(None)).unwrap();
    for tls in [None, Some(tls)] {
        let (address, _stop) = start(tls, limits).await;
        for said in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost:"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
            assert!(ended.is_ok(), "{said:?} holds the connection");
        }
    }
}

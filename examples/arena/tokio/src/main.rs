//! Two calls a request on tokio: in the task of the request, after sleeps, by tasks of their own, both at once
//! in one task, by eight tasks behind a channel. front PORT BACKEND_PORT

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc, oneshot};

static CLIENT: LazyLock<Client<HttpConnector, Full<Bytes>>> =
    LazyLock::new(|| Client::builder(TokioExecutor::new()).build_http());

struct Job {
    token: String,
    number: u32,
    done: oneshot::Sender<String>,
}

async fn call(token: String, number: u32) -> String {
    let key = std::env::var("ARENA_KEY").unwrap_or_default();
    let hash = Sha256::digest(format!("{key}:{token}:{number}"));
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let backend = std::env::args().nth(2).unwrap_or_default();
    let uri = format!("http://127.0.0.1:{backend}/b/{hex}").parse().expect("a URI");
    let response = CLIENT.get(uri).await.expect("the backend answers");
    let body = response.into_body().collect().await.expect("the backend answers").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

fn workers() -> mpsc::Sender<Job> {
    let (sender, jobs) = mpsc::channel::<Job>(8);
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..8 {
        let jobs = Arc::clone(&jobs);
        tokio::spawn(async move {
            loop {
                let job = jobs.lock().await.recv().await;
                let Some(job) = job else { return };
                let _ = job.done.send(call(job.token, job.number).await);
            }
        });
    }
    sender
}

async fn work(way: &str, token: &str, jobs: &mpsc::Sender<Job>) -> String {
    let token = token.to_owned();
    if way == "join" {
        let (one, other) = tokio::join!(call(token.clone(), 1), call(token, 2));
        return one + &other;
    }
    let mut body = String::new();
    for number in 1..=2 {
        let token = token.clone();
        body += &match way {
            "spawn" => tokio::spawn(call(token, number)).await.expect("it ends"),
            "channel" => {
                let (done, result) = oneshot::channel();
                let _ = jobs.send(Job { token, number, done }).await;
                result.await.expect("a worker answers")
            }
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                call(token, number).await
            }
            _ => call(token, number).await,
        };
    }
    body
}

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap_or_default();
    let listener =
        tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("a port");
    let jobs = workers();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let jobs = jobs.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let jobs = jobs.clone();
            async move {
                let mut parts = request.uri().path().split('/').skip(1);
                let (way, token) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
                let body = work(way, token, &jobs).await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
            }
        });
        tokio::spawn(async move {
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

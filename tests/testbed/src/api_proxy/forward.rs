//! The proxy at work: connections in, requests out, and watches streamed through.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::rules::{Answer, Held, Line, Moment, Sentence, Shared};
use crate::error::{Error, Result};

/// Frames of one response that may wait for its reader.
const QUEUED_FRAMES: usize = 16;

type Body = UnsyncBoxBody<Bytes, String>;
/// An error closes the connection without an answer.
type Outcome = std::result::Result<Response<Body>, String>;

/// The thread of a proxy; it ends with this value. A test that blocks its own runtime does not stop it.
pub(super) struct Worker {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(shared: Arc<Shared>, upstream: String, client: reqwest::Client) -> Result<Self> {
        let failed = || Error::io("cannot start a proxy before the apiserver");
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-proxy")
            .enable_all()
            .build()
            .map_err(failed())?;
        let (stop, stopped) = oneshot::channel();
        let proxy = Arc::new(Proxy {
            shared,
            upstream,
            client,
        });
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    () = proxy.listen(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if there was one, has been printed.
            let _ = thread.join();
        }
    }
}

struct Proxy {
    shared: Arc<Shared>,
    upstream: String,
    client: reqwest::Client,
}

impl Proxy {
    async fn listen(self: Arc<Self>, listener: tokio::net::TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            if *self.shared.line.borrow() != Line::Closed {
                tokio::spawn(Arc::clone(&self).serve(stream));
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut line = self.shared.line.subscribe();
        let proxy = Arc::clone(&self);
        let service = service_fn(move |request| Arc::clone(&proxy).answer(request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // The connection ends in an error if a rule loses the request.
            _ = connection => {}
            _ = line.wait_for(|line| *line == Line::Closed) => {}
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Outcome {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let sentence = self.shared.judge(head.method.as_str(), &path, json);
        let forwarded = async {
            self.gets_through().await;
            self.forward(head.method.clone(), &path, head.headers.clone(), body)
                .await
        };
        let outcome = match sentence {
            Sentence::Pass => forwarded.await,
            Sentence::Answer(answer) => made_up(&answer),
            Sentence::Lose(Moment::Before) => Err("lost".to_owned()),
            Sentence::Lose(Moment::After) => forwarded.await.and(Err("lost".to_owned())),
            Sentence::Hold { moment, held, release } => {
                let _visit = Visit(&self.shared, held);
                match moment {
                    Moment::Before => {
                        release.await.map_err(|_| "lost while it was held")?;
                        forwarded.await
                    }
                    Moment::After => {
                        let outcome = forwarded.await?;
                        self.shared.took_effect(held);
                        release.await.map_err(|_| "lost while it was held")?;
                        Ok(outcome)
                    }
                }
            }
        };
        self.gets_through().await;
        outcome
    }

    async fn gets_through(&self) {
        // If the line is closed, the connection ends anyway.
        let _ = self
            .shared
            .line
            .subscribe()
            .wait_for(|line| *line != Line::Silent)
            .await;
    }

    async fn forward(&self, method: hyper::Method, path: &str, mut headers: HeaderMap, body: Bytes) -> Outcome {
        for name in [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let sent = self
            .client
            .request(method, format!("{}{path}", self.upstream))
            .headers(headers)
            .body(body)
            .send()
            .await;
        let answer: hyper::http::Response<reqwest::Body> = sent.map_err(|error| error.to_string())?.into();
        let (mut head, body) = answer.into_parts();
        for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        head.version = hyper::Version::HTTP_11;
        head.extensions.clear();
        let (sender, channel) = Channel::new(QUEUED_FRAMES);
        tokio::spawn(pump(Arc::clone(&self.shared), body, sender));
        Ok(Response::from_parts(head, channel.boxed_unsync()))
    }
}

/// Forwards a response frame by frame, while the line is not silent.
async fn pump(shared: Arc<Shared>, mut body: reqwest::Body, mut sender: Sender<Bytes, String>) {
    let mut line = shared.line.subscribe();
    while let Some(frame) = body.frame().await {
        let _ = line.wait_for(|line| *line != Line::Silent).await;
        match frame {
            Ok(frame) => {
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
            Err(error) => return sender.abort(error.to_string()),
        }
    }
}

/// Ends the hold of a request when dropped: its client may disconnect before the test releases it.
struct Visit<'a>(&'a Shared, Held);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.abandoned(self.1);
    }
}

fn made_up(answer: &Answer) -> Outcome {
    let body = Full::new(Bytes::from(answer.body.to_string()));
    Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, "application/json")
        .body(body.map_err(|never: Infallible| match never {}).boxed_unsync())
        .map_err(|error| error.to_string())
}

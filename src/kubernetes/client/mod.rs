//! Clients of the apiserver. Every request has a timeout and is sent once; the number of concurrent requests is
//! limited. Retries are up to the caller. A watch has an idle timeout. The time of the last response for each watched
//! path is kept for readiness.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::{Method, Request, Response};
use futures::{Stream, StreamExt};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Layer, Service};

use crate::kubernetes::config::ConfigError;

/// Timeout of a request, including the body of its response.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Idle timeout of a watch. The apiserver sends a bookmark about every minute.
pub(crate) const WATCH_IDLE_LIMIT: Duration = Duration::from_secs(150);

/// Concurrent requests, excluding watches. Each takes a connection of about 50 KiB, and a few connections more are open: the
/// HTTP client opens one for a request that then takes another that has become free. Reconciles that the
/// apiserver does not answer leave some to the lists and watches.
pub(crate) const MOST_REQUESTS: usize = 22;

/// Clients of the same apiserver, with separate connections.
pub(crate) struct Clients {
    /// For everything but the leader election.
    pub main: Client,
    /// For the leader election: busy connections of the other client must not cost the lease.
    pub election: Client,
    /// When lists and watches of [`Self::main`] last received data.
    pub heard: WatchActivity,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no usable configuration.
    #[error("no access to Kubernetes is configured: {0}")]
    Config(#[from] ConfigError),
    /// The configuration does not result in a client.
    #[error("the Kubernetes client cannot be created: {0}")]
    Client(#[from] kube::Error),
    /// The thread that creates the client panicked or was aborted.
    #[error(transparent)]
    Thread(#[from] JoinError),
}

impl Clients {
    /// Runs the kubeconfig's exec plugin, if there is one, and blocks until it ends: not for a thread with other work.
    pub(crate) fn new(mut config: Config) -> Result<Self, kube::Error> {
        // Default retries wait as long as the server demands, up to 15 times, and report nothing.
        config.default_retry = false;
        let heard = WatchActivity::default();
        let election = Limits::new(WatchActivity::default());
        Ok(Self {
            main: ClientBuilder::try_from(config.clone())?
                .with_layer(&Limits::new(heard.clone()))
                .build(),
            election: ClientBuilder::try_from(config)?.with_layer(&election).build(),
            heard,
        })
    }
}

/// When the apiserver last responded, by path of a list or watch. Clones share the data.
#[derive(Clone, Debug, Default)]
pub struct WatchActivity(Arc<Mutex<HashMap<String, Instant>>>);

impl WatchActivity {
    fn note(&self, path: &str) {
        let mut heard = self.lock();
        match heard.get_mut(path) {
            Some(at) => *at = Instant::now(),
            None => {
                heard.insert(path.to_owned(), Instant::now());
            }
        }
    }

    /// Returns how long ago the last response was; `None`: there was none.
    pub fn age(&self, path: &str) -> Option<Duration> {
        self.lock().get(path).map(Instant::elapsed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies the limits to a service that sends requests.
#[derive(Clone)]
pub(crate) struct Limits {
    places: Arc<Semaphore>,
    heard: WatchActivity,
}

impl Limits {
    pub(crate) fn new(heard: WatchActivity) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST_REQUESTS)),
            heard,
        }
    }
}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            inner,
            limits: self.clone(),
        }
    }
}

/// See [`Limits`].
pub(crate) struct Limited<S> {
    inner: S,
    limits: Limits,
}

/// No response in time.
#[derive(Debug, Error)]
#[error("no answer from the apiserver within {}", humantime::format_duration(*.0))]
struct NoAnswer(Duration);

/// The kind of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// An endless stream of events.
    Watch,
    /// A page of a list.
    List,
    Other,
}

impl Asks {
    fn of<B>(request: &Request<B>) -> Self {
        let has = |name: &str| {
            let query = request.uri().query().unwrap_or_default();
            query.split('&').any(|part| part.split('=').next() == Some(name))
        };
        match *request.method() {
            Method::GET if has("watch") => Self::Watch,
            Method::GET if has("limit") => Self::List,
            _ => Self::Other,
        }
    }
}

impl<S, B, R> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asks = Asks::of(&request);
        let path = request.uri().path().to_owned();
        let limits = self.limits.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let head = async {
                let (parts, body) = answer.await.map_err(Into::into)?.into_parts();
                if asks != Asks::Other && parts.status.is_success() {
                    limits.heard.note(&path);
                }
                Ok::<_, BoxError>((parts, Body::new(body)))
            };
            if asks == Asks::Watch {
                let (parts, body) = in_time(head).await?;
                let events = until_silent(body.into_data_stream(), limits.heard, path);
                return Ok(Response::from_parts(parts, Body::from_stream(events)));
            }
            // The semaphore is never closed.
            let _place = limits.places.acquire().await;
            in_time(async {
                let (parts, body) = head.await?;
                let whole = to_bytes(body, usize::MAX).await?;
                Ok(Response::from_parts(parts, Body::from(whole)))
            })
            .await
        })
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    timeout(REQUEST_LIMIT, answer)
        .await
        .unwrap_or_else(|_| Err(NoAnswer(REQUEST_LIMIT).into()))
}

/// Ends a watch that has been idle for too long: its connection may be dead.
fn until_silent<S, E>(
    events: S,
    heard: WatchActivity,
    path: String,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Into<BoxError>,
{
    futures::stream::unfold(Some((events, heard, path)), |state| async {
        let (mut events, heard, path) = state?;
        match timeout(WATCH_IDLE_LIMIT, events.next()).await {
            Ok(Some(Ok(event))) => {
                heard.note(&path);
                Some((Ok(event), Some((events, heard, path))))
            }
            Ok(Some(Err(error))) => Some((Err(error.into()), None)),
            Ok(None) => None,
            Err(_) => Some((Err(NoAnswer(WATCH_IDLE_LIMIT).into()), None)),
        }
    })
}

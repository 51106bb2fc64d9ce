//! The parts of an apiserver that the operator uses: objects under their paths, merge patches pinned to a version,
//! lists and watches. It records the requests and fails where a test requires it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response};
use kube::Client;
use kube::client::Body as KubeBody;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::{Layer, service_fn};

use crate::kubernetes::client::{Limits, WatchActivity};

pub(crate) const GROUP: &str = "/apis/vpn.huaweicloud.com/v1alpha1";

/// Each answer takes a short time, so that requests can overlap.
const ANSWER_TAKES: Duration = Duration::from_millis(1);

/// A request: method, path and body.
pub(crate) struct ApiRequest {
    pub method: Method,
    pub path: String,
    pub watch: bool,
    pub body: String,
}

type Fault = Box<dyn Fn(&ApiRequest) -> Option<u16> + Send>;

type Matches = Box<dyn Fn(&ApiRequest) -> bool + Send>;

/// A request that is held, or will be.
#[derive(Clone)]
struct HeldApiRequest {
    hears: watch::Receiver<()>,
    held: Arc<AtomicUsize>,
    given_up: Arc<AtomicUsize>,
    is_waiting: bool,
}

impl HeldApiRequest {
    async fn wait(mut self) {
        self.is_waiting = true;
        self.held.fetch_add(1, Ordering::SeqCst);
        // Nothing is ever sent: it ends when the sender is dropped.
        let _ = self.hears.changed().await;
        self.is_waiting = false;
    }
}

impl Drop for HeldApiRequest {
    fn drop(&mut self) {
        self.given_up.fetch_add(usize::from(self.is_waiting), Ordering::SeqCst);
    }
}

/// Requests that are not answered until this is dropped.
pub(crate) struct Hold {
    held: Arc<AtomicUsize>,
    given_up: Arc<AtomicUsize>,
    _released: watch::Sender<()>,
}

impl Hold {
    /// The number of requests that were held so far.
    pub(crate) fn count(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Whether no client has given up waiting for its answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.given_up.load(Ordering::SeqCst) == 0
    }
}

#[derive(Default)]
struct ApiserverState {
    version: u64,
    objects: BTreeMap<String, Value>,
    /// Version, type, path and object of each change.
    changes: Vec<(u64, &'static str, String, Value)>,
    asked: Vec<(Method, String)>,
    in_progress: usize,
    most_in_progress: usize,
    faults: Vec<Fault>,
    /// The number of started watches, and how many of the first ones deliver nothing any more.
    watches: usize,
    silent_watches: usize,
    holds: Vec<(Matches, HeldApiRequest)>,
}

/// See the module. Clones share one state.
#[derive(Clone)]
pub(crate) struct Apiserver {
    state: Arc<Mutex<ApiserverState>>,
    version: watch::Sender<u64>,
}

impl Apiserver {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            version: watch::Sender::new(0),
        }
    }

    /// A client like the operator's.
    pub(crate) fn client(&self, heard: &WatchActivity) -> Client {
        let apiserver = self.clone();
        let service = service_fn(move |request| {
            let apiserver = apiserver.clone();
            async move { Ok::<_, Infallible>(apiserver.serve(request).await) }
        });
        Client::new(Limits::new(heard.clone()).layer(service), "team")
    }

    /// Puts an object at its path, as `kubectl apply` would.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let namespace = path.split('/').skip_while(|part| *part != "namespaces").nth(1);
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(namespace);
        metadata["uid"] = json!(format!("uid-of-{name}"));
        if metadata["generation"].is_null() {
            metadata["generation"] = json!(1);
        }
        metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.store(path, object);
    }

    /// Changes an object.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(path);
        change(&mut object);
        self.store(path, object);
    }

    /// `kubectl delete`, which a finalizer delays.
    pub(crate) fn delete(&self, path: &str) {
        self.change(path, |object| {
            let metadata = &mut object["metadata"];
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            metadata["generation"] = json!(metadata["generation"].as_i64().unwrap_or_default() + 1);
        });
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.lock().objects.get(path).cloned().unwrap_or_default()
    }

    /// Refuses requests from now on with the status that `fault` returns for them, if any.
    pub(crate) fn fail(&self, fault: impl Fn(&ApiRequest) -> Option<u16> + Send + 'static) {
        self.lock().faults.push(Box::new(fault));
    }

    /// The watches started until now deliver nothing any more, as over a half-open connection.
    pub(crate) fn silence_watches(&self) {
        let mut state = self.lock();
        state.silent_watches = state.watches;
    }

    /// Holds such requests without an answer from now on, until the returned value is dropped.
    pub(crate) fn hold(&self, matches: impl Fn(&ApiRequest) -> bool + Send + 'static) -> Hold {
        let (released, hears) = watch::channel(());
        let (held, given_up) = (Arc::default(), Arc::default());
        let request = HeldApiRequest {
            hears,
            held: Arc::clone(&held),
            given_up: Arc::clone(&given_up),
            is_waiting: false,
        };
        self.lock().holds.push((Box::new(matches), request));
        Hold {
            held,
            given_up,
            _released: released,
        }
    }

    /// The number of requests with this method and with `part` in the path.
    pub(crate) fn count(&self, method: &Method, part: &str) -> usize {
        let state = self.lock();
        let fits = |(asked, path): &&(Method, String)| asked == method && path.contains(part);
        state.asked.iter().filter(fits).count()
    }

    /// The largest number of concurrent requests, without watches.
    pub(crate) fn most_in_progress(&self) -> usize {
        self.lock().most_in_progress
    }

    /// An overview of the objects, for failure messages.
    pub(crate) fn summary(&self) -> String {
        let state = self.lock();
        let objects = state.objects.iter().filter(|(path, _)| !path.contains("/secrets/"));
        let lines = objects.map(|(path, object)| {
            let ready = object["status"]["conditions"][0].to_string();
            format!("{path} {ready} {}", object["note"])
        });
        lines.take(40).collect::<Vec<_>>().join("\n")
    }

    fn store(&self, path: &str, object: Value) {
        let version = self.lock().store(path, object).1;
        self.version.send_replace(version);
    }

    async fn serve(&self, request: Request<KubeBody>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let asked = ApiRequest {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            watch: query.split('&').any(|part| part.starts_with("watch=")),
            body: String::from_utf8_lossy(&body.collect_bytes().await.unwrap_or_default()).into_owned(),
        };
        let (failure, holds) = {
            let mut state = self.lock();
            state.asked.push((asked.method.clone(), asked.path.clone()));
            let holds = state.holds.iter().filter(|(matches, _)| matches(&asked));
            let holds: Vec<HeldApiRequest> = holds.map(|(_, request)| request.clone()).collect();
            (state.faults.iter().find_map(|fault| fault(&asked)), holds)
        };
        for request in holds {
            request.wait().await;
        }
        if let Some(status) = failure {
            return refused(status, "made to fail");
        }
        if asked.watch {
            let from = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
            return self.watch(asked.path, from.and_then(|from| from.parse().ok()).unwrap_or(0));
        }
        {
            let mut state = self.lock();
            state.in_progress += 1;
            state.most_in_progress = state.most_in_progress.max(state.in_progress);
        }
        tokio::time::sleep(ANSWER_TAKES).await;
        let answer = {
            let mut state = self.lock();
            state.in_progress -= 1;
            state.answer(&asked)
        };
        self.version.send_replace(self.lock().version);
        answer
    }

    fn watch(&self, path: String, from: u64) -> Response<Body> {
        let (state, changed) = (Arc::clone(&self.state), self.version.subscribe());
        let number = {
            let mut state = self.lock();
            state.watches += 1;
            state.watches
        };
        let events = futures::stream::unfold((from, changed), move |(from, mut changed)| {
            let (state, path) = (Arc::clone(&state), path.clone());
            async move {
                loop {
                    changed.borrow_and_update();
                    let next = {
                        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                        let is_silent = number <= state.silent_watches;
                        let seen = state.changes.partition_point(|(version, ..)| *version <= from);
                        state.changes[seen..]
                            .iter()
                            .find(|(_, _, of, _)| !is_silent && is_in(of, &path))
                            .cloned()
                    };
                    if let Some((version, type_, _, object)) = next {
                        let line = format!("{}\n", json!({"type": type_, "object": object}));
                        return Some((Ok::<_, Infallible>(Bytes::from(line)), (version, changed)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        Response::new(Body::from_stream(events))
    }

    fn lock(&self) -> MutexGuard<'_, ApiserverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApiserverState {
    fn store(&mut self, path: &str, mut object: Value) -> (Value, u64) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let metadata = &object["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let type_ = if !metadata["deletionTimestamp"].is_null() && !held {
            self.objects.remove(path);
            "DELETED"
        } else if self.objects.insert(path.to_owned(), object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.changes
            .push((self.version, type_, path.to_owned(), object.clone()));
        (object, self.version)
    }

    fn answer(&mut self, asked: &ApiRequest) -> Response<Body> {
        let path = asked.path.trim_end_matches("/status");
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        if asked.method == Method::POST {
            // Events, and the digest key.
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            return answered(&self.store(&format!("{path}/{name}"), body.clone()).0);
        }
        if asked.method == Method::GET && is_collection(path) {
            let items: Vec<&Value> = self
                .objects
                .iter()
                .filter(|(of, _)| is_in(of, path))
                .map(|(_, it)| it)
                .collect();
            let metadata = json!({"resourceVersion": self.version.to_string()});
            return answered(&json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}));
        }
        let Some(object) = self.objects.get(path) else {
            return refused(404, path.rsplit('/').next().unwrap_or_default());
        };
        if asked.method == Method::GET {
            return answered(object);
        }
        let pinned = &body["metadata"]["resourceVersion"];
        if !pinned.is_null() && *pinned != object["metadata"]["resourceVersion"] {
            return refused(409, "it has changed");
        }
        let mut patched = object.clone();
        merge(&mut patched, &body);
        answered(&self.store(path, patched).0)
    }
}

/// `…/customergateways`, in a namespace or in all, or `/api/v1/secrets`.
fn is_collection(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    ["customergateways", "links", "vpnusers", "secrets"].contains(&last)
}

/// Whether the object at this path is in that collection.
fn is_in(object: &str, collection: &str) -> bool {
    let Some((parent, _)) = object.rsplit_once('/') else {
        return false;
    };
    let parts: Vec<&str> = parent.split('/').collect();
    let everywhere: Vec<&str> = match parts.iter().position(|part| *part == "namespaces") {
        Some(at) => parts
            .iter()
            .take(at)
            .chain(parts.iter().skip(at + 2))
            .copied()
            .collect(),
        None => return parent == collection,
    };
    parent == collection || everywhere.join("/") == collection
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn answered(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string()))
}

fn refused(code: u16, message: &str) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code,
        "details": {"name": message},
    });
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = code.try_into().unwrap_or_default();
    response
}

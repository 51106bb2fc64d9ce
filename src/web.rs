//! The operator's HTTP endpoints: `/livez`, `/healthz`, `/readyz`, `/metrics`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::{info, warn};

use crate::metrics;

/// Probes and scrapers need a few. Any client that reaches the pod can open more: then the oldest idle ones are closed.
const MOST_CONNECTIONS: usize = 256;

/// How long the head of a request may take, including the idle time before it.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may last, even if busy: a client must not keep its place by slow requests or by not reading.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);

/// The maximum size of a request's head, and of one write.
const MOST_BUFFERED: usize = 16 * 1024;

/// The pause after a failed accept, for example for lack of file descriptors.
const AFTER_A_FAILED_ACCEPT: Duration = Duration::from_secs(1);

/// The checks that must be ok before the operator is ready, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<String, CheckStatus>>>,
    doubts: Arc<Mutex<BTreeMap<String, Doubt>>>,
}

/// Returns why a check that is ok must not be trusted, if so.
#[derive(Clone)]
struct Doubt(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl std::fmt::Debug for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Doubt")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CheckStatus {
    Ok,
    Pending(String),
    /// Shown, without effect on readiness: a follower is as ready as the leader.
    Note(String),
}

/// One thing that readiness waits for. Clones are the same check.
#[derive(Clone, Debug)]
pub struct ReadinessCheck {
    readiness: Readiness,
    name: String,
}

impl Readiness {
    /// Adds a check that is pending at first, and why. A second one of the same name is the same check.
    pub fn check(&self, name: impl Into<String>, why: impl Into<String>) -> ReadinessCheck {
        let check = ReadinessCheck {
            readiness: self.clone(),
            name: name.into(),
        };
        check.pending(why);
        check
    }

    /// Shows a text without effect on readiness.
    pub fn note(&self, name: impl Into<String>, text: impl Into<String>) {
        self.checks().insert(name.into(), CheckStatus::Note(text.into()));
    }

    /// Whether no check is pending. Without any check it is not ready, since nothing is known yet.
    pub fn is_ready(&self) -> bool {
        self.report().0
    }

    /// Returns whether all checks are ok, and one line per check.
    pub fn report(&self) -> (bool, String) {
        let checks = self.as_of_now();
        let ready = !checks.is_empty() && !checks.values().any(|status| matches!(status, CheckStatus::Pending(_)));
        let mut text = String::from(if ready { "ready\n" } else { "not ready\n" });
        for (name, status) in &checks {
            // Writing to a String cannot fail.
            let _ = match status {
                CheckStatus::Ok => writeln!(text, "[+] {name}: ok"),
                CheckStatus::Pending(why) => writeln!(text, "[-] {name}: pending: {why}"),
                CheckStatus::Note(note) => writeln!(text, "[i] {name}: {note}"),
            };
        }
        (ready, text)
    }

    /// Returns the checks; those that are ok but doubted count as pending.
    fn as_of_now(&self) -> BTreeMap<String, CheckStatus> {
        let mut checks = self.checks().clone();
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, doubt) in doubts.iter() {
            if let Some(status) = checks.get_mut(name).filter(|status| **status == CheckStatus::Ok)
                && let Some(why) = (doubt.0)()
            {
                *status = CheckStatus::Pending(why);
            }
        }
        checks
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<String, CheckStatus>> {
        // Nothing panics while holding it; even after a panic the map would be consistent.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessCheck {
    /// Marks the check as ok.
    pub fn ok(&self) {
        self.readiness.checks().insert(self.name.clone(), CheckStatus::Ok);
    }

    /// Reports a failure that does not make the operator unready.
    pub fn note(&self, text: impl Into<String>) {
        self.readiness.note(self.name.clone(), text);
    }

    /// Calls `doubt` at each report while the check is ok. If it returns a reason, the check counts as pending.
    pub(crate) fn goes_stale(&self, doubt: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let mut doubts = self.readiness.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.insert(self.name.clone(), Doubt(Arc::new(doubt)));
    }

    /// Marks the check as pending, and why.
    pub fn pending(&self, why: impl Into<String>) {
        self.readiness
            .checks()
            .insert(self.name.clone(), CheckStatus::Pending(why.into()));
    }
}

/// Why the HTTP endpoints cannot be served.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (--bind-address): {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Binds `address`. Where the machine has no IPv6, `[::]` becomes `0.0.0.0`.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let error = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && means_no_ipv6(&error) {
        let fallback = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
        return TcpListener::bind(fallback).await.map_err(|source| ListenError {
            address: fallback,
            source,
        });
    }
    Err(ListenError { address, source: error })
}

/// A machine without IPv6 reports an unknown address family; one with IPv6 switched off, an unavailable address. A port
/// in use causes neither error.
fn means_no_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[derive(Clone)]
struct EndpointData {
    readiness: Readiness,
    registry: Arc<Registry>,
}

/// Serves until `shutdown`, and then until the requests in progress are answered.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    info!("listening on {}", listener.local_addr()?);
    let router = router(EndpointData { readiness, registry });
    let open = Arc::new(Mutex::new(Connections::default()));
    let in_progress = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(AFTER_A_FAILED_ACCEPT).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let (number, place) = lock(&open).enter();
        let (router, is_busy) = (router.clone(), Arc::clone(&place.is_busy));
        let service = service_fn(move |request: Request<Incoming>| {
            is_busy.store(true, Ordering::Relaxed);
            let (answer, is_busy) = (router.clone().call(request), Arc::clone(&is_busy));
            async move {
                let answer = answer.await;
                is_busy.store(false, Ordering::Relaxed);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(MOST_BUFFERED)
            .serve_connection(TokioIo::new(stream), service);
        let connection = in_progress.watch(connection);
        let open = Arc::clone(&open);
        tokio::spawn(async move {
            tokio::select! {
                // Clients that disconnect or take too long are ignored.
                _ = timeout(CONNECTION_LIMIT, connection) => {}
                () = place.evicted.cancelled() => {}
            }
            lock(&open).leave(number);
        });
    }
    in_progress.shutdown().await;
    Ok(())
}

/// The open connections, by age.
#[derive(Default)]
struct Connections {
    last: u64,
    open: BTreeMap<u64, ConnectionSlot>,
}

#[derive(Clone, Default)]
struct ConnectionSlot {
    /// A request is being answered.
    is_busy: Arc<AtomicBool>,
    evicted: CancellationToken,
}

impl Connections {
    /// Makes room for a connection: closes the oldest idle one, since a probe must not wait for idle clients.
    fn enter(&mut self) -> (u64, ConnectionSlot) {
        if self.open.len() >= MOST_CONNECTIONS {
            let idle = self
                .open
                .iter()
                .find(|(_, place)| !place.is_busy.load(Ordering::Relaxed));
            let oldest = idle.or(self.open.first_key_value()).map(|(number, _)| *number);
            if let Some(place) = oldest.and_then(|number| self.open.remove(&number)) {
                place.evicted.cancel();
            }
        }
        self.last += 1;
        let place = ConnectionSlot::default();
        self.open.insert(self.last, place.clone());
        (self.last, place)
    }

    fn leave(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

fn lock(connections: &Mutex<Connections>) -> MutexGuard<'_, Connections> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(pages: EndpointData) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(pages)
}

async fn readyz(State(pages): State<EndpointData>) -> (StatusCode, String) {
    let (ready, text) = pages.readiness.report();
    (
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        text,
    )
}

async fn show_metrics(State(pages): State<EndpointData>) -> Response {
    match metrics::encode(&pages.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    struct Served {
        address: SocketAddr,
        readiness: Readiness,
        shutdown: CancellationToken,
        done: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn served() -> Served {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::default();
        let mut registry = Registry::default();
        metrics::Metrics::default().register(&mut registry);
        let shutdown = CancellationToken::new();
        let done = tokio::spawn(serve(listener, readiness.clone(), Arc::new(registry), shutdown.clone()));
        Served {
            address,
            readiness,
            shutdown,
            done,
        }
    }

    impl Served {
        /// Status line, headers and body of a GET, sent without an HTTP library.
        async fn get(&self, path: &str) -> String {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn without_its_crds_the_operator_is_alive_but_not_ready() {
        let served = served().await;
        served.readiness.check("crd customergateways", "not installed");
        assert!(served.get("/livez").await.starts_with("HTTP/1.1 200 "));
        assert!(served.get("/healthz").await.starts_with("HTTP/1.1 200 "));
        let answer = served.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.contains("[-] crd customergateways: pending: not installed\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn readiness_requires_every_check_and_no_leadership() {
        let served = served().await;
        let crd = served.readiness.check("crd customergateways", "not checked yet");
        let watch = served.readiness.check("watch customergateways", "not begun");
        served.readiness.note("leader", "standing by");
        crd.ok();
        assert!(served.get("/readyz").await.starts_with("HTTP/1.1 503 "));
        watch.ok();
        let answer = served.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("[+] crd customergateways: ok\n"), "{answer}");
        assert!(answer.contains("[i] leader: standing by\n"), "{answer}");
        watch.pending("the apiserver does not answer");
        assert!(served.get("/readyz").await.starts_with("HTTP/1.1 503 "));
    }

    #[tokio::test]
    async fn the_operator_is_not_ready_before_the_first_check() {
        assert!(served().await.get("/readyz").await.starts_with("HTTP/1.1 503 "));
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics() {
        let answer = served().await.get("/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer
                .to_lowercase()
                .contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{answer}"
        );
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    /// The response to these bytes, until the server closes the connection.
    async fn answer_to(served: &Served, bytes: &[u8]) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn slow_and_idle_clients_are_disconnected() {
        let served = served().await;
        served.readiness.check("crd", "x").ok();
        let slow = ["", "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "].map(|begun| answer_to(&served, begun.as_bytes()));
        // The server ends them: this test has no timeout of its own.
        let answers = futures::future::join_all(slow).await;
        assert!(answers.iter().all(|answer| !answer.contains("200 OK")), "{answers:?}");
        assert!(served.get("/readyz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn probes_are_answered_despite_many_idle_connections() {
        let served = served().await;
        served.readiness.check("crd", "x").ok();
        let more = 50;
        let mut idle = Vec::new();
        for _ in 0..MOST_CONNECTIONS + more {
            idle.push(TcpStream::connect(served.address).await.unwrap());
        }
        assert!(served.get("/readyz").await.starts_with("HTTP/1.1 200 "));
        // Only as many connections were closed as the later ones needed.
        idle[0].readable().await.unwrap();
        assert_eq!(idle[0].try_read(&mut [0]).unwrap(), 0, "the oldest is closed");
        let still_open = idle[more + 1].try_read(&mut [0]).unwrap_err();
        assert_eq!(still_open.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_busy_connection_is_kept_before_idle_ones() {
        let mut connections = Connections::default();
        let (busy, place) = connections.enter();
        place.is_busy.store(true, Ordering::Relaxed);
        let (idle, _) = connections.enter();
        for _ in 0..MOST_CONNECTIONS - 1 {
            connections.enter();
        }
        assert_eq!(connections.open.len(), MOST_CONNECTIONS);
        assert!(connections.open.contains_key(&busy) && !connections.open.contains_key(&idle));
    }

    #[tokio::test]
    async fn oversized_requests_and_unknown_paths_are_refused() {
        let served = served().await;
        let large = format!(
            "GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n",
            "a".repeat(4 * MOST_BUFFERED)
        );
        let answer = answer_to(&served, large.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let headers: String = (0..500).fold(String::new(), |headers, number| format!("{headers}X-{number}: a\r\n"));
        let many = answer_to(
            &served,
            format!("GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes(),
        )
        .await;
        assert!(many.is_empty() || many.starts_with("HTTP/1.1 431 "), "{many}");
        for path in [
            "/",
            "/metrics/",
            "/metrics/../livez",
            "//metrics",
            "/%6detrics",
            "/livez%00",
            "/etc/passwd",
            "/debug/pprof",
            "http://other/secret",
        ] {
            let answer = served.get(path).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        }
        let post = answer_to(
            &served,
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nabc",
        )
        .await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
        assert!(served.get("/livez").await.starts_with("HTTP/1.1 200 "));
        assert!(served.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn shutdown_ends_the_server() {
        let served = served().await;
        served.shutdown.cancel();
        served.done.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_reported_with_the_address_and_flag() {
        let taken = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen(address).await.unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("--bind-address"),
            "{error}"
        );
    }

    #[test]
    fn only_a_missing_family_or_address_means_no_ipv6() {
        assert!(means_no_ipv6(&io::Error::from_raw_os_error(97)));
        assert!(means_no_ipv6(&io::Error::from(io::ErrorKind::AddrNotAvailable)));
        assert!(!means_no_ipv6(&io::Error::from(io::ErrorKind::AddrInUse)));
        assert!(!means_no_ipv6(&io::Error::from(io::ErrorKind::PermissionDenied)));
    }

    #[test]
    fn checks_of_one_name_are_one_check() {
        let readiness = Readiness::default();
        let one = readiness.check("crd", "not checked");
        one.ok();
        assert!(readiness.is_ready());
        let same = readiness.clone().check("crd", "checked again");
        assert!(!readiness.is_ready());
        one.ok();
        drop((one, same));
        assert_eq!(readiness.report(), (true, "ready\n[+] crd: ok\n".to_owned()));
    }

    #[test]
    fn a_stale_check_is_pending_until_it_is_no_longer_stale() {
        let readiness = Readiness::default();
        let check = readiness.check("watch", "not begun");
        let is_stale = Arc::new(AtomicBool::new(true));
        let stale = Arc::clone(&is_stale);
        check.goes_stale(move || stale.load(Ordering::Relaxed).then(|| "silent".to_owned()));
        let shows = |line: &str| readiness.report().1.contains(line);
        assert!(shows("[-] watch: pending: not begun\n"));
        check.ok();
        assert!(shows("[-] watch: pending: silent\n") && !readiness.is_ready());
        is_stale.store(false, Ordering::Relaxed);
        assert!(shows("[+] watch: ok\n") && readiness.is_ready());
        // A later condition replaces the first.
        is_stale.store(true, Ordering::Relaxed);
        check.goes_stale(|| None);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_closed_connection_leaves_its_place() {
        let mut connections = Connections::default();
        let (closed, _) = connections.enter();
        let (evicted, place) = connections.enter();
        for _ in 0..2 {
            connections.leave(closed);
            assert!(connections.open.contains_key(&evicted) && connections.open.len() == 1);
        }
        for _ in 0..MOST_CONNECTIONS {
            connections.enter();
        }
        assert!(place.evicted.is_cancelled());
        connections.leave(evicted);
        assert_eq!(connections.open.len(), MOST_CONNECTIONS);
    }
}

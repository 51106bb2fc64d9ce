//! The simulator as a server, for its binary and for tests in the same process.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::HttpBody as Body;
use axum::http::Response;
use axum::{Router, extract::DefaultBodyLimit};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use crate::api::Simulator;
use crate::connection::{Connection, CuttableListener};
use crate::settings::Settings;
use crate::switches::AnswerEncoding;
use crate::{admin_api, api};

/// Time limit for the answers in progress after a request to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// Longer than any page of a list.
const LONGEST_COMPRESSED: u64 = 1024 * 1024;

/// Compresses answers if the switch is on.
#[derive(Clone)]
struct IfSwitchedOn(Arc<Simulator>);

impl Predicate for IfSwitchedOn {
    fn should_compress<B: Body>(&self, answer: &Response<B>) -> bool {
        let is_on = self.0.state().switches.encoding == AnswerEncoding::Gzip;
        // The bodies of faults travel as they are: they break off, or are longer than any answer.
        let is_whole = answer
            .body()
            .size_hint()
            .exact()
            .is_some_and(|length| length <= LONGEST_COMPRESSED);
        is_on && is_whole && DefaultPredicate::new().should_compress(answer)
    }
}

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct RunningSimulator {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningSimulator {
    /// Starts the simulator; port 0 selects a free one. It answers once this returns.
    pub async fn start(settings: Settings, listen: SocketAddr) -> io::Result<Self> {
        settings
            .check()
            .map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let simulator = Arc::new(Simulator::new(settings));
        let stop = simulator.stop.clone();
        let compressed = IfSwitchedOn(Arc::clone(&simulator));
        let service = Router::new()
            .nest("/_simulator", admin_api::router())
            .fallback(api::serve)
            .layer(DefaultBodyLimit::disable())
            .layer(CompressionLayer::new().compress_when(compressed))
            .with_state(simulator)
            .into_make_service_with_connect_info::<Connection>();
        let drained = stop.clone();
        let server = axum::serve(CuttableListener(listener), service)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let task = tokio::spawn(async move {
            tokio::select! {
                // A bound listener does not fail: axum retries internally.
                _ = server => {}
                () = async { drained.cancelled().await; tokio::time::sleep(DRAIN).await; } => {}
            }
        });
        Ok(Self { address, stop, task })
    }

    /// The address that it listens on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Releases everything that is held and waits for the answers in progress.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The task panics only if axum does, and then nothing can be done.
        let _ = (&mut self.task).await;
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

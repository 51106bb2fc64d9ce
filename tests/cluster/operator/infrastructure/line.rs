//! The line to the cloud: it forwards connections, or refuses them like a machine that does not listen.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// See the module; it is cut when it is dropped.
pub(super) struct CloudLine {
    address: SocketAddr,
    cloud: SocketAddr,
    carrier: Option<JoinHandle<()>>,
}

impl CloudLine {
    /// Creates a line to the simulator at that URL.
    pub(super) async fn to(url: &str) -> Self {
        let cloud = url.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            cloud,
            carrier: Some(tokio::spawn(carry(listener, cloud))),
        }
    }

    /// The endpoint for the operator's flags.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection, and refuses new ones.
    pub(super) async fn cut(&mut self) {
        let carrier = self.carrier.take().expect("it was not cut");
        carrier.abort();
        // Its connections are closed once it has ended.
        assert!(carrier.await.unwrap_err().is_cancelled());
    }

    /// Forwards connections again.
    pub(super) async fn correct_drift(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.carrier = Some(tokio::spawn(carry(listener, self.cloud)));
    }
}

impl Drop for CloudLine {
    fn drop(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.abort();
        }
    }
}

async fn carry(listener: TcpListener, cloud: SocketAddr) {
    // The tasks are aborted when the set is dropped.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(cloud).await {
                // A broken connection may cause any error.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

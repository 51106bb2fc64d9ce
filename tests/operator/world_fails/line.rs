//! The line to the cloud: connections are carried over, or refused as by a machine that is not there.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// See the module; it is cut when it is dropped.
pub struct CloudLine {
    address: SocketAddr,
    cloud: SocketAddr,
    carrier: Option<JoinHandle<()>>,
}

impl CloudLine {
    /// To the simulator at that URL.
    pub async fn to(url: &str) -> Self {
        let cloud = url.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            cloud,
            carrier: Some(tokio::spawn(carry(listener, cloud))),
        }
    }

    /// What an operator is told to call.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every connection breaks, and none can be made.
    pub async fn cut(&mut self) {
        let carrier = self.carrier.take().expect("it was not cut");
        carrier.abort();
        // Whatever it held is closed once it has ended.
        assert!(carrier.await.unwrap_err().is_cancelled());
    }

    /// As before.
    pub async fn mend(&mut self) {
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
    // Aborted with the set.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(cloud).await {
                // It breaks in one way or another.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

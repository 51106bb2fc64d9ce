//! A TCP proxy that counts connections and forwards bytes: TLS stays between its two ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};

/// A running counter; it ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct ConnectionCounter {
    counts: Arc<Counts>,
    kubeconfig: PathBuf,
    _forwards: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    most: AtomicUsize,
}

/// A connection that is counted for as long as this is.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        let open = counts.open.fetch_add(1, Ordering::Relaxed) + 1;
        counts.most.fetch_max(open, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionCounter {
    /// Starts one in front of the apiserver, for processes with this kubeconfig, which the test bed wrote.
    pub async fn start_for(plane: &ControlPlane, kubeconfig: &Path) -> Result<Self> {
        let url = plane.url();
        let apiserver: SocketAddr = url
            .trim_start_matches("https://")
            .parse()
            .map_err(|_| Error::io(format!("{url} has no port"))(std::io::ErrorKind::InvalidInput.into()))?;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(Error::io("cannot listen on loopback"))?;
        let port = listener.local_addr().map_err(Error::io("no own address"))?.port();
        let text = std::fs::read(kubeconfig).map_err(Error::io(format!("cannot read {}", kubeconfig.display())))?;
        let mut config: Value = serde_json::from_slice(&text)?;
        config["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
        let kubeconfig = plane.guardian().folder().join(format!("kubeconfig-counter-{port}"));
        std::fs::write(&kubeconfig, config.to_string())
            .map_err(Error::io(format!("cannot write {}", kubeconfig.display())))?;
        let counts = Arc::new(Counts::default());
        let mut forwards = JoinSet::new();
        forwards.spawn(accept(listener, apiserver, Arc::clone(&counts)));
        Ok(Self {
            counts,
            kubeconfig,
            _forwards: forwards,
        })
    }

    /// The kubeconfig that makes a process connect through it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The most connections that were open at once.
    pub fn most(&self) -> usize {
        self.counts.most.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, apiserver: SocketAddr, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let open = Open::new(&counts);
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(apiserver).await {
                // Either end may close it at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
}

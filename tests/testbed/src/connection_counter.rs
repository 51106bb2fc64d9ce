//! A TCP proxy that counts connections and the bytes of answers. TLS stays between its two ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};

/// A running proxy; it ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct CountingProxy {
    counts: Arc<Counts>,
    port: u16,
    _forwards: JoinSet<()>,
}

/// The same in front of the apiserver.
#[derive(Debug)]
pub struct ConnectionCounter {
    proxy: CountingProxy,
    kubeconfig: PathBuf,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    most: AtomicUsize,
    answered: AtomicU64,
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

impl CountingProxy {
    /// Starts one in front of a server.
    pub async fn start_for(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(Error::io("cannot listen on loopback"))?;
        let port = listener.local_addr().map_err(Error::io("no own address"))?.port();
        let counts = Arc::new(Counts::default());
        let mut forwards = JoinSet::new();
        forwards.spawn(accept(listener, server, Arc::clone(&counts)));
        Ok(Self {
            counts,
            port,
            _forwards: forwards,
        })
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The most connections that were open at once.
    pub fn most(&self) -> usize {
        self.counts.most.load(Ordering::Relaxed)
    }

    /// The bytes that the server has sent.
    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
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
        let proxy = CountingProxy::start_for(apiserver).await?;
        let port = proxy.port();
        let text = std::fs::read(kubeconfig).map_err(Error::io(format!("cannot read {}", kubeconfig.display())))?;
        let mut config: Value = serde_json::from_slice(&text)?;
        config["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
        let kubeconfig = plane.guardian().folder().join(format!("kubeconfig-counter-{port}"));
        std::fs::write(&kubeconfig, config.to_string())
            .map_err(Error::io(format!("cannot write {}", kubeconfig.display())))?;
        Ok(Self { proxy, kubeconfig })
    }

    /// The kubeconfig that makes a process connect through it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The most connections that were open at once.
    pub fn most(&self) -> usize {
        self.proxy.most()
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let open = Open::new(&counts);
        connections.spawn(async move {
            if let Ok(server) = TcpStream::connect(server).await {
                // Either end may close it at any time.
                let _ = forward(client, server, &open.0.answered).await;
            }
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(client: TcpStream, server: TcpStream, answered: &AtomicU64) -> std::io::Result<()> {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 {
                return to_client.shutdown().await;
            }
            answered.fetch_add(u64::try_from(length).unwrap_or_default(), Ordering::Relaxed);
            to_client.write_all(&buffer[..length]).await?;
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}

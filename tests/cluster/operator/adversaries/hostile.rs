//! Servers that respond as no cloud would. Each has its own port and counts its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The response to each request.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes.
    Whole(Vec<u8>),
    /// A head, then the chunk `times` times.
    Again { head: String, chunk: Vec<u8>, times: usize },
    /// A head, then a byte after each pause, without end.
    Drip { head: String, pause: Duration },
}

impl Reply {
    /// A response with a body of its full length.
    pub(super) fn answer(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let mut whole = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        whole.extend(body);
        Self::Whole(whole)
    }

    /// A response with a JSON content type and a body of so many bytes, which repeats one chunk.
    pub(super) fn huge(status: &str, chunk: &str, bytes: usize) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n"
        );
        Self::Again {
            head,
            chunk: chunk.as_bytes().to_vec(),
            times: bytes / chunk.len(),
        }
    }
}

/// See the module. It ends with the test's runtime.
pub(super) struct Hostile {
    address: SocketAddr,
    visits: Arc<AtomicU64>,
}

impl Hostile {
    pub(super) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&visits);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, reply.clone()));
            }
        });
        Self { address, visits }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The number of connections to it.
    pub(super) fn visits(&self) -> u64 {
        self.visits.load(Ordering::Relaxed)
    }
}

/// Responds to one client, which may disconnect at any time.
async fn serve(mut stream: TcpStream, reply: Reply) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(read @ 1..) => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    match reply {
        Reply::Whole(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Again { head, chunk, times } => {
            let _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..times {
                if stream.write_all(&chunk).await.is_err() {
                    return;
                }
            }
        }
        Reply::Drip { head, pause } => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        }
    }
    let _ = stream.shutdown().await;
    // Reads what the client still sends: otherwise a reset would discard the response.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

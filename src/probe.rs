//! `vpn-operator probe`: asks operators whether they are ready, and prints their `/readyz`. `helm test` runs it, since
//! the image contains no other program for that.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};
use url::{Host, Url};

use crate::error_chain::one_line;

/// How long one operator may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Between two rounds of requests.
const PAUSE: Duration = Duration::from_millis(500);

/// An answer has a line for each check.
const MOST_BYTES: usize = 64 * 1024;

/// The answers of the last round.
#[derive(Debug)]
pub struct Answers {
    /// At least one operator is ready.
    pub ready: bool,
    /// All answers, for people.
    pub text: String,
}

/// Why there is no address to ask.
#[derive(Debug, Error)]
enum AddressError {
    #[error("{0} has no host")]
    NoHost(Url),
    #[error("{name} has no address ({source})")]
    LookupFailure { name: String, source: io::Error },
}

/// Why there is no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error("no connection: {0}")]
    Connection(#[from] io::Error),
    #[error("no answer: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("no request: {0}")]
    Request(#[from] axum::http::Error),
    #[error("incomplete answer: {0}")]
    Body(#[from] axum::Error),
    #[error("not within {}", humantime::format_duration(ANSWER_LIMIT))]
    Timeout,
}

/// Asks each operator behind `url` until one is ready, but no longer than `patience`; at least once.
pub async fn until_ready(url: &Url, patience: Duration) -> Answers {
    let end = Instant::now() + patience;
    loop {
        let answers = round(url).await;
        if answers.ready || Instant::now() + PAUSE >= end {
            return answers;
        }
        sleep(PAUSE).await;
    }
}

/// A Service's name may resolve to several operators; one that is ready is enough.
async fn round(url: &Url) -> Answers {
    let mut answers = Answers {
        ready: false,
        text: String::new(),
    };
    let addresses = match addresses(url).await {
        Ok(addresses) => addresses,
        Err(problem) => {
            answers.text = format!("{problem}: check that a pod of the operator runs\n");
            return answers;
        }
    };
    for address in addresses {
        // Writing to a String cannot fail.
        let _ = match ask(address, url).await {
            Ok((status, printed)) => {
                answers.ready |= status == StatusCode::OK;
                write!(answers.text, "{address} answers {status}:\n{printed}")
            }
            Err(error) => writeln!(answers.text, "{address} does not answer: {}", one_line(&error)),
        };
    }
    answers
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, AddressError> {
    let port = url.port_or_known_default().unwrap_or_default();
    let name = match url.host() {
        Some(Host::Ipv4(ip)) => return Ok(vec![(ip, port).into()]),
        Some(Host::Ipv6(ip)) => return Ok(vec![(ip, port).into()]),
        Some(Host::Domain(name)) => name,
        None => return Err(AddressError::NoHost(url.clone())),
    };
    let found = lookup_host((name, port))
        .await
        .map_err(|source| AddressError::LookupFailure {
            name: name.to_owned(),
            source,
        })?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort();
    found.dedup();
    Ok(found)
}

async fn ask(address: SocketAddr, url: &Url) -> Result<(StatusCode, String), AskError> {
    let answer = timeout(ANSWER_LIMIT, exchange(address, url)).await;
    answer.unwrap_or(Err(AskError::Timeout))
}

async fn exchange(address: SocketAddr, url: &Url) -> Result<(StatusCode, String), AskError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender. If it ends early, the pending request returns the error.
    tokio::spawn(connection);
    let request = Request::get(url.path())
        .header(header::HOST, url.authority())
        .body(Body::empty())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let printed = to_bytes(Body::new(answer.into_body()), MOST_BYTES).await?;
    Ok((status, String::from_utf8_lossy(&printed).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::web;
    use crate::web::Readiness;

    const PATIENT: Duration = Duration::from_secs(60);

    async fn served(readiness: &Readiness) -> Url {
        let listener = web::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let pages = web::serve(
            listener,
            readiness.clone(),
            Arc::new(Registry::default()),
            CancellationToken::new(),
        );
        tokio::spawn(pages);
        url.parse().unwrap()
    }

    #[tokio::test]
    async fn the_probe_waits_until_the_operator_is_ready() {
        let readiness = Readiness::default();
        let check = readiness.check("watch vpnusers", "not begun");
        let url = served(&readiness).await;
        let (answers, ()) = tokio::join!(until_ready(&url, PATIENT), async { check.ok() });
        assert!(answers.ready, "{answers:?}");
        assert!(answers.text.contains("[+] watch vpnusers: ok\n"), "{}", answers.text);
    }

    #[tokio::test]
    async fn the_probe_reports_the_failed_checks() {
        let readiness = Readiness::default();
        readiness.check("crd vpnusers", "not installed");
        let answers = until_ready(&served(&readiness).await, Duration::ZERO).await;
        assert!(!answers.ready, "{answers:?}");
        for printed in ["503", "[-] crd vpnusers: pending: not installed\n"] {
            assert!(answers.text.contains(printed), "{}", answers.text);
        }
    }

    #[tokio::test]
    async fn the_probe_reports_an_unreachable_address_or_host() {
        let closed = web::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        // No name may be so long: it causes no DNS query.
        let host = "o".repeat(80);
        for (url, printed) in [
            (format!("http://{address}/readyz"), address.to_string()),
            (format!("http://{host}:8080/readyz"), format!("{host} has no address")),
        ] {
            let answers = until_ready(&url.parse().unwrap(), Duration::ZERO).await;
            assert!(!answers.ready && answers.text.contains(&printed), "{answers:?}");
        }
    }

    #[tokio::test]
    async fn the_probe_times_out_without_a_response() {
        tokio::time::pause();
        let silent = web::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/readyz", silent.local_addr().unwrap());
        let answers = until_ready(&url.parse().unwrap(), Duration::ZERO).await;
        assert!(answers.text.contains("not within 5s"), "{}", answers.text);
    }
}

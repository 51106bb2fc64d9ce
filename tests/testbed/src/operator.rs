//! The operator's own binary, as users run it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::http;
use crate::kubelet::Mount;
use crate::process::{Launch, Process};
use crate::wait::eventually;

/// A running operator; its process is available through [`Deref`].
#[derive(Debug)]
pub struct Operator {
    process: Process,
    mounts: Vec<Mount>,
}

impl Operator {
    /// Starts the binary with this kubeconfig. `--bind-address 127.0.0.1:0` among the arguments keeps several operators
    /// apart; [`Operator::address`] returns the port.
    pub fn start(
        guardian: &Arc<Guardian>,
        binary: &Path,
        kubeconfig: &Path,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self> {
        let launch = Launch::new("vpn-operator", binary)
            .args(arguments)
            .envs([("KUBECONFIG", kubeconfig)])
            .envs(variables);
        Self::launch(guardian, launch)
    }

    /// Starts it in another way: in a container, for example.
    pub fn launch(guardian: &Arc<Guardian>, launch: Launch) -> Result<Self> {
        Ok(Self {
            process: guardian.spawn(launch)?,
            mounts: Vec::new(),
        })
    }

    /// Keeps the folders that it reads, for as long as this value exists.
    pub(crate) fn with_mounts(mut self, mounts: Vec<Mount>) -> Self {
        self.mounts = mounts;
        self
    }

    /// The folders that it reads.
    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The address of its `/livez`, `/readyz` and `/metrics`, from its log.
    pub async fn address(&self, deadline: Duration) -> Result<SocketAddr> {
        self.process
            .wait_for_log_line("the line with its address", deadline, listening_address)
            .await
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_until_ready(&self, deadline: Duration) -> Result<()> {
        let url = format!("http://{}/readyz", self.address(deadline).await?);
        let client = http::loopback_client().build()?;
        let awaited = format!("{url} answers 200");
        let ready = eventually(&awaited, deadline, async || {
            // There is no answer once it has ended.
            if let Some(status) = self.process.exit_status().map_err(|error| error.to_string())? {
                return Ok(Some(status));
            }
            let answer = client.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() {
                return Ok(None);
            }
            Err(format!(
                "{}: {}",
                answer.status(),
                answer.text().await.unwrap_or_default()
            ))
        });
        match ready.await? {
            None => Ok(()),
            Some(status) => Err(self.process.ended(status, &awaited)),
        }
    }

    /// The answer of its web server to a path: status and body.
    pub async fn get(&self, path: &str, deadline: Duration) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.address(deadline).await?);
        let answer = http::loopback_client()
            .timeout(deadline)
            .build()?
            .get(url)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self, deadline: Duration) -> Result<String> {
        match self.get("/metrics", deadline).await? {
            (200, body) => Ok(body),
            (status, body) => Err(Error::Answer {
                method: "GET".to_owned(),
                url: "/metrics".to_owned(),
                status,
                body,
            }),
        }
    }
}

impl Deref for Operator {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// The address in a log line with `listening on ADDRESS`, text or JSON.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = rest.find(|letter: char| letter.is_whitespace() || letter.is_control() || "\",".contains(letter));
    let address = rest[..end.unwrap_or(rest.len())].trim_start_matches("http://");
    address.parse().ok().map(reachable)
}

/// A client cannot connect to "all addresses", but loopback is among them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_text_and_in_json() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4711)));
        assert_eq!(
            listening_address("INFO web: listening on 127.0.0.1:4711 path=/metrics"),
            expected
        );
        assert_eq!(listening_address("INFO listening on http://127.0.0.1:4711"), expected);
        assert_eq!(
            listening_address(r#"{"message":"listening on 127.0.0.1:4711","level":"INFO"}"#),
            expected
        );
        assert_eq!(listening_address("INFO listening on [::]:4711"), expected);
        assert_eq!(listening_address("INFO not listening"), None);
    }
}

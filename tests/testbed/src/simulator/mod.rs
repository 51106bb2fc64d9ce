//! The cloud's simulator as a process, and a client of its admin API.

mod admin;

use std::ffi::OsString;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::http;
use crate::process::{Launch, Process};

const START_DEADLINE: Duration = Duration::from_secs(60);
/// The admin API answers from memory, but may be asked to wait for something.
const ANSWER_DEADLINE: Duration = Duration::from_secs(150);

/// A running simulator; its process is available through [`Deref`].
#[derive(Debug)]
pub struct Simulator {
    process: Process,
    url: String,
    client: reqwest::Client,
}

impl Simulator {
    /// Starts the binary on a free port of loopback, with more arguments if a test wants some.
    pub async fn start(
        guardian: &Arc<Guardian>,
        binary: &Path,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self> {
        let launch = Launch::new("vpn-simulator", binary)
            .args(["--bind-address", "127.0.0.1:0"])
            .args(arguments);
        Self::launch(guardian, launch).await
    }

    /// Starts it in another way: in a container, for example.
    pub async fn launch(guardian: &Arc<Guardian>, launch: Launch) -> Result<Self> {
        let process = guardian.spawn(launch)?;
        let url = process
            .wait_for_log_line("the line with its address", START_DEADLINE, listening_url)
            .await?;
        let client = http::loopback_client().timeout(ANSWER_DEADLINE).build()?;
        Ok(Self { process, url, client })
    }

    /// The base URL of the simulated endpoints, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads from the admin API: `path` is what follows `/_simulator/`. The simulator's own crate has types for the
    /// answers; [`serde_json::Value`] works too.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// Posts something to the admin API.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Changes something through the admin API.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Sets something through the admin API.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    /// Removes something through the admin API.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::DELETE, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        let url = format!("{}/_simulator/{path}", self.url);
        let mut request = self.client.request(method.clone(), &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(Error::Answer {
                method: method.to_string(),
                url,
                status: status.as_u16(),
                body: text,
            });
        }
        Ok(serde_json::from_str(if text.is_empty() { "null" } else { &text })?)
    }
}

impl Deref for Simulator {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

fn listening_url(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on http://")?;
    let address = rest.split_whitespace().next()?;
    Some(format!("http://{}", address.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_the_log() {
        let line = "INFO vpn-simulator listening on http://127.0.0.1:4711/ region=eu-west-101";
        assert_eq!(listening_url(line).as_deref(), Some("http://127.0.0.1:4711"));
        assert_eq!(listening_url("project-id 0123"), None);
    }
}

//! The HTTP client and its trusted CAs. It is rebuilt when the CA file changes: CAs rotate while the process runs.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use reqwest::{redirect, retry};

use crate::credentials::file_stamp::FileStamp;
use crate::http::options::{TransportError, TransportOptions};
use crate::http::tls;

/// See the module.
pub(crate) struct HttpClient {
    options: TransportOptions,
    current: Mutex<Current>,
}

struct Current {
    client: reqwest::Client,
    /// Stamp of the CA file at the last check. `None`: there is no file.
    stamp: Option<FileStamp>,
}

impl HttpClient {
    /// Reads the CA file and the system's roots.
    pub(crate) fn new(options: TransportOptions) -> Result<Self, TransportError> {
        // The stamp is taken first, so the next check sees a change in between.
        let stamp = options.ca_file.as_deref().and_then(|file| FileStamp::of(file).ok());
        let client = build(&options)?;
        Ok(Self {
            options,
            current: Mutex::new(Current { client, stamp }),
        })
    }

    /// Returns a client that trusts the present content of the CA file. While the file is missing or invalid, the roots
    /// that were read last stay in force.
    pub(crate) fn current(&self) -> reqwest::Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.options.ca_file {
            let stamp = FileStamp::of(file).ok();
            if stamp != current.stamp {
                current.stamp = stamp;
                self.reload(file, &mut current);
            }
        }
        current.client.clone()
    }

    fn reload(&self, file: &Path, current: &mut Current) {
        match build(&self.options) {
            Ok(client) => {
                // Connections of the former client end with the requests that use them.
                current.client = client;
                tracing::info!(target: "vpn_operator::cloud", file = %file.display(), "read the changed CA file");
            }
            Err(error) => tracing::warn!(
                target: "vpn_operator::cloud",
                "the changed CA file is not used: {error}; correct it: until then the certificates that were read last count"
            ),
        }
    }
}

fn build(options: &TransportOptions) -> Result<reqwest::Client, TransportError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(options.ca_file.as_deref())?)
        .user_agent(concat!("vpn-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .timeout(options.request_timeout)
        // Without a connection a write has no effect. A shorter limit distinguishes that case from a slow response.
        .connect_timeout(options.request_timeout / 2)
        .build()
        .map_err(|error| TransportError::Http(error.into()))
}

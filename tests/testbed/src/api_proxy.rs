//! A proxy between an operator and the apiserver: it records every request, streams watches, and can hold a request
//! before or after its effect, lose it, answer it itself, or disconnect the operator.
//!
//! The operator uses [`ApiProxy::kubeconfig`]; all other clients still use the apiserver directly.

mod forward;
mod request;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::wait::eventually;
use forward::Worker;
pub use request::{ApiRequest, Verb};
pub use rules::{Answer, Line, Moment};
use rules::{Fate, Shared};

/// A running proxy; it stops when it is dropped.
pub struct ApiProxy {
    shared: Arc<Shared>,
    worker: Worker,
    kubeconfig: PathBuf,
}

impl ApiProxy {
    /// Starts a proxy of the apiserver, with the administrator's permissions.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        Self::start_for(plane, plane.kubeconfig())
    }

    /// Starts a proxy for a kubeconfig that the test bed wrote, with the same permissions.
    pub fn start_for(plane: &ControlPlane, kubeconfig: &Path) -> Result<Self> {
        let shared = Arc::new(Shared::new());
        let worker = Worker::start(Arc::clone(&shared), plane.url(), plane.http_client()?)?;
        let text = std::fs::read(kubeconfig).map_err(Error::io(format!("cannot read {}", kubeconfig.display())))?;
        let mut config: Value = serde_json::from_slice(&text)?;
        config["clusters"][0]["cluster"] = serde_json::json!({"server": format!("http://{}", worker.address)});
        let name = format!("kubeconfig-proxy-{}", worker.address.port());
        let kubeconfig = plane.guardian().folder().join(name);
        std::fs::write(&kubeconfig, config.to_string())
            .map_err(Error::io(format!("cannot write {}", kubeconfig.display())))?;
        Ok(Self {
            shared,
            worker,
            kubeconfig,
        })
    }

    /// The kubeconfig of this proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The URL of this proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.worker.address)
    }

    /// Forwards or blocks requests from now on.
    pub fn set_line(&self, line: Line) {
        self.shared.line.send_replace(line);
    }

    /// The number of the latest request: tests check the requests after it.
    pub fn last_number(&self) -> u64 {
        self.shared.last_number()
    }

    /// The requests after that number, in order of arrival.
    pub fn requests_since(&self, number: u64) -> Vec<ApiRequest> {
        self.shared.passed_since(number)
    }

    /// Holds the first matching request after `skip` others.
    pub fn hold(
        &self,
        moment: Moment,
        skip: usize,
        pick: impl Fn(&ApiRequest) -> bool + Send + Sync + 'static,
    ) -> Hold {
        Hold(
            self.interfere(Box::new(pick), skip, Some(1), Fate::Hold(moment)),
            moment,
        )
    }

    /// Holds every matching request: a watch, for example, which then neither begins nor ends.
    pub fn hold_all(&self, moment: Moment, pick: impl Fn(&ApiRequest) -> bool + Send + Sync + 'static) -> Hold {
        Hold(self.interfere(Box::new(pick), 0, None, Fate::Hold(moment)), moment)
    }

    /// Closes the connection of matching requests, `times` times or (`None`) always.
    pub fn lose(
        &self,
        moment: Moment,
        times: Option<usize>,
        pick: impl Fn(&ApiRequest) -> bool + Send + Sync + 'static,
    ) -> Interference {
        self.interfere(Box::new(pick), 0, times, Fate::Lose(moment))
    }

    /// Answers matching requests instead of the apiserver, `times` times or (`None`) always.
    pub fn answer(
        &self,
        answer: Answer,
        times: Option<usize>,
        pick: impl Fn(&ApiRequest) -> bool + Send + Sync + 'static,
    ) -> Interference {
        self.interfere(Box::new(pick), 0, times, Fate::Answer(answer))
    }

    fn interfere(&self, pick: rules::Pick, skip: usize, times: Option<usize>, fate: Fate) -> Interference {
        Interference {
            rule: self.shared.add(pick, skip, times, fate),
            shared: Arc::clone(&self.shared),
        }
    }
}

/// An interference of a proxy with requests; it ends when this is dropped.
#[must_use = "it ends when it is dropped"]
pub struct Interference {
    rule: u64,
    shared: Arc<Shared>,
}

impl Drop for Interference {
    fn drop(&mut self) {
        self.shared.remove(self.rule);
    }
}

/// A hold on requests. Dropping it closes the connections of the held requests.
#[must_use = "it ends when it is dropped"]
pub struct Hold(Interference, Moment);

impl Hold {
    /// The requests that are held now; those that are held after their effect have taken effect.
    pub fn held(&self) -> Vec<ApiRequest> {
        self.0.shared.held(self.0.rule, self.1)
    }

    /// Waits for the first held request.
    pub async fn reached(&self, deadline: Duration) -> Result<ApiRequest> {
        eventually("a request is held by the proxy", deadline, async || {
            self.held().into_iter().next().ok_or("none is")
        })
        .await
    }

    /// Releases the held requests to the apiserver, or their answers to the client.
    pub fn release(&self) {
        self.0.shared.release(self.0.rule);
    }
}

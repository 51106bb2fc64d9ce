//! Follows the Secrets that objects reference: by a metadata watch of all Secrets or, where that is forbidden, by
//! reading the version of each of them at the resync.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::secret::SecretName;

use crate::reconcile::k8s::initial_list::is_forbidden;
use crate::reconcile::k8s::secrets::Secrets;
use crate::web::{Readiness, ReadinessCheck};

/// Small, since Secrets can have large annotations, which a metadata watch includes.
const PAGE_SIZE: u32 = 50;

/// Without a resync, the pause before a forbidden watch is tried again.
const WITHOUT_RESYNC: Duration = Duration::from_secs(300);

/// What is followed, and for which registry.
#[derive(Clone)]
pub(crate) struct Followed {
    pub client: Client,
    pub secrets: Arc<Secrets>,
    /// A watch for each; `None` is every namespace.
    pub namespaces: Vec<Option<String>>,
    pub resync_period: Option<Duration>,
}

/// Follows the Secrets of each watched namespace until shutdown. Drops annotations immediately, since one of them
/// repeats what kubectl applied. Calls `enqueued` for each object whose Secret changed.
pub(crate) async fn watch_secrets(
    followed: Followed,
    enqueued: impl Fn(ObjectKey) + Send + Sync + 'static,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let watches = followed.namespaces.iter().cloned().map(|namespace| {
        let place = namespace
            .as_ref()
            .map_or(String::new(), |namespace| format!(" in {namespace}"));
        let watch = Watch {
            check: readiness.check(format!("watch secrets{place}"), "not begun"),
            followed: followed.clone(),
            namespace,
            listed: HashSet::new(),
            list: 0,
            is_forbidden: false,
        };
        watch.run()
    });
    let news = async {
        loop {
            for key in followed.secrets.news().await {
                enqueued(key);
            }
        }
    };
    tokio::select! {
        _ = join_all(watches) => {}
        () = news => {}
        () = shutdown.cancelled() => {}
    }
}

/// One watch, of a namespace or of all.
struct Watch {
    followed: Followed,
    namespace: Option<String>,
    check: ReadinessCheck,
    /// The referenced Secrets that the list in progress has shown.
    listed: HashSet<SecretName>,
    /// The number of that list.
    list: u64,
    /// The watch is forbidden, which was logged.
    is_forbidden: bool,
}

impl Watch {
    async fn run(mut self) {
        loop {
            self.follow().await;
            self.rest().await;
        }
    }

    /// Watches until the watch is forbidden.
    async fn follow(&mut self) {
        let client = self.followed.client.clone();
        let api: Api<PartialObjectMeta<Secret>> = match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        // Helm keeps its releases in many large Secrets; with this selector the apiserver omits them.
        let config = watcher::Config::default()
            .page_size(PAGE_SIZE)
            .fields("type!=helm.sh/release.v1");
        let mut events = watcher(api, config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.heard(event),
                Err(error) if is_forbidden(&error) => return self.forbidden(),
                Err(error) => {
                    debug!(%error, "the watch of Secrets failed; it restarts");
                    self.check.ok();
                    self.followed.secrets.distrust(self.namespace.as_deref());
                }
            }
        }
    }

    fn heard(&mut self, event: watcher::Event<PartialObjectMeta<Secret>>) {
        let secrets = &self.followed.secrets;
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                self.list = secrets.list_begins();
            }
            watcher::Event::InitApply(secret) => {
                let name = name_of(&secret);
                secrets.seen(&name, secret.resource_version().as_deref());
                if secrets.is_named(&name) {
                    self.listed.insert(name);
                }
            }
            watcher::Event::InitDone => {
                self.check.ok();
                self.allowed();
                let secrets = &self.followed.secrets;
                secrets.saw_all(self.namespace.as_deref(), self.list, &self.listed);
            }
            watcher::Event::Apply(secret) => secrets.seen(&name_of(&secret), secret.resource_version().as_deref()),
            watcher::Event::Delete(secret) => secrets.seen(&name_of(&secret), None),
        }
    }

    fn allowed(&mut self) {
        self.followed.secrets.set_followed(self.namespace.as_deref(), true);
        if std::mem::take(&mut self.is_forbidden) {
            let namespace = self.namespace.as_deref().unwrap_or("any");
            info!(namespace, "Secrets are watched again");
        }
    }

    fn forbidden(&mut self) {
        self.check.ok();
        let secrets = &self.followed.secrets;
        let is_read_at_the_resync = self.followed.resync_period.is_some();
        secrets.set_followed(self.namespace.as_deref(), is_read_at_the_resync);
        if !std::mem::replace(&mut self.is_forbidden, true) {
            secrets.distrust(self.namespace.as_deref());
            let namespace = self.namespace.as_deref().unwrap_or("any");
            info!(
                namespace,
                "Secrets cannot be watched: forbidden; a change is noticed at the next resync"
            );
        }
    }

    /// Waits before the next attempt to watch. At the resync, reads the version of each Secret instead.
    async fn rest(&mut self) {
        let period = self.followed.resync_period;
        tokio::time::sleep(period.unwrap_or(WITHOUT_RESYNC)).await;
        if period.is_some() && self.is_forbidden {
            self.followed.secrets.refresh(self.namespace.as_deref()).await;
        }
    }
}

fn name_of<S: ResourceExt>(secret: &S) -> SecretName {
    (secret.namespace().unwrap_or_default(), secret.name_any())
}

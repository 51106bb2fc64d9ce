//! Follows the Secrets that objects name: by a watch of all Secrets' metadata, or, where that is not allowed, by asking for
//! each of them at the resync.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::context::Context;
use super::initial_list::is_forbidden;
use super::key::Key;
use super::secrets::SecretName;
use crate::web::{Check, Readiness};

/// Secrets can carry much in their annotations, which a metadata watch brings along.
const PAGE_SIZE: u32 = 50;

/// Follows them until shutdown, in each namespace that is looked after; annotations are dropped at once, since one of them
/// repeats what kubectl applied. `woken` is told of objects whose Secret changed.
pub async fn watch_secrets(
    context: Arc<Context>,
    woken: impl Fn(Key) + Send + Sync + 'static,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let namespaces = context.settings.watch_namespaces.watches();
    let watches = namespaces.into_iter().map(|namespace| {
        let place = namespace
            .as_ref()
            .map_or(String::new(), |namespace| format!(" in {namespace}"));
        let watch = Watch {
            check: readiness.check(format!("watch secrets{place}"), "not begun"),
            context: Arc::clone(&context),
            namespace,
            listed: HashSet::new(),
            list: 0,
            next_reading: None,
        };
        watch.run(&woken)
    });
    tokio::select! {
        _ = join_all(watches) => {}
        () = shutdown.cancelled() => {}
    }
}

/// One watch, of a namespace or of all.
struct Watch {
    context: Arc<Context>,
    namespace: Option<String>,
    check: Check,
    /// What the list that is under way has shown of what is named.
    listed: HashSet<SecretName>,
    /// Its number.
    list: u64,
    /// While it is not allowed to watch: when to ask again.
    next_reading: Option<Instant>,
}

impl Watch {
    async fn run(mut self, woken: &(impl Fn(Key) + Send + Sync)) {
        let client = self.context.client.clone();
        let api: Api<PartialObjectMeta<Secret>> = match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        // Helm keeps its releases in Secrets, many and large ones; the server leaves them out.
        let config = watcher::Config::default()
            .page_size(PAGE_SIZE)
            .fields("type!=helm.sh/release.v1");
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            let news = tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.heard(event),
                    None => return,
                },
                () = reached(self.next_reading) => {
                    let news = self.context.secrets.look_again(self.namespace.as_deref()).await;
                    self.next_reading = self.after_the_resync();
                    news
                }
            };
            for key in news {
                woken(key);
            }
        }
    }

    /// Who names a Secret of which this is news.
    fn heard(&mut self, event: watcher::Result<watcher::Event<PartialObjectMeta<Secret>>>) -> Vec<Key> {
        let secrets = &self.context.secrets;
        match event {
            Ok(watcher::Event::Init) => {
                self.listed.clear();
                self.list = secrets.list_begins();
                Vec::new()
            }
            Ok(watcher::Event::InitApply(secret)) => {
                let name = name_of(&secret);
                let news = secrets.seen(&name, secret.resource_version().as_deref());
                if secrets.is_named(&name) {
                    self.listed.insert(name);
                }
                news
            }
            Ok(watcher::Event::InitDone) => {
                self.check.ok();
                self.next_reading = None;
                secrets.saw_all(self.namespace.as_deref(), self.list, &self.listed)
            }
            Ok(watcher::Event::Apply(secret)) => secrets.seen(&name_of(&secret), secret.resource_version().as_deref()),
            Ok(watcher::Event::Delete(secret)) => secrets.seen(&name_of(&secret), None),
            Err(error) => {
                debug!(%error, "the watch of Secrets failed; it is begun anew");
                self.check.ok();
                if is_forbidden(&error) {
                    self.is_not_allowed();
                } else {
                    // A change is seen when the Secret is needed next.
                    secrets.distrust();
                }
                Vec::new()
            }
        }
    }

    fn is_not_allowed(&mut self) {
        if self.next_reading.is_some() {
            return;
        }
        self.next_reading = self.after_the_resync();
        if self.next_reading.is_some() {
            let namespace = self.namespace.as_deref().unwrap_or("any");
            info!(
                namespace,
                "Secrets may not be watched; a change of one is seen at the resync"
            );
        } else {
            self.context.secrets.distrust();
        }
    }

    fn after_the_resync(&self) -> Option<Instant> {
        let period = self.context.settings.resync_period?;
        Some(Instant::now() + period)
    }
}

async fn reached(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn name_of<S: ResourceExt>(secret: &S) -> SecretName {
    (secret.namespace().unwrap_or_default(), secret.name_any())
}

//! The objects that the demo applies, read from the apiserver.

use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};

use crate::Failure;
use crate::script::DEADLINE;
use crate::table::{Row, Table};
use vpn_operator_testbed::Operator;

const POLL_INTERVAL: Duration = Duration::from_millis(200);

const GROUP: &str = "vpn.huaweicloud.com";
const VERSION: &str = "v1alpha1";
const USERS: (&str, &str) = ("VpnUser", "vpnusers");
/// Kind and plural of the objects in the samples, without Secrets.
const KINDS: [(&str, &str); 2] = [("CustomerGateway", "customergateways"), USERS];

/// The number of our objects in the output of `kubectl apply`, one line each.
pub(crate) fn ours(applied: &str) -> usize {
    applied.lines().filter(|line| line.contains(GROUP)).count()
}

/// All objects of our kinds.
pub(crate) struct Objects {
    kinds: Vec<(&'static str, Api<DynamicObject>)>,
    users: Api<DynamicObject>,
}

impl Objects {
    pub(crate) fn new(client: &Client) -> Self {
        let resource = |(kind, plural): (&str, &str)| {
            let kind_of_group = GroupVersionKind::gvk(GROUP, VERSION, kind);
            ApiResource::from_gvk_with_plural(&kind_of_group, plural)
        };
        let all = |kind: (&'static str, &str)| (kind.0, Api::all_with(client.clone(), &resource(kind)));
        Self {
            kinds: KINDS.map(all).into(),
            users: Api::default_namespaced_with(client.clone(), &resource(USERS)),
        }
    }

    /// One user.
    pub(crate) async fn user(&self, name: &str) -> Result<DynamicObject, kube::Error> {
        self.users.get(name).await
    }

    /// Draws the table until as many objects as were applied are Ready.
    pub(crate) async fn show_until_ready(&self, applied: usize, operator: &Operator) -> Result<(), Failure> {
        let started = Instant::now();
        let mut table = Table::default();
        loop {
            let rows = self.rows().await?;
            table.draw(rows.clone())?;
            if rows.len() >= applied && rows.iter().all(Row::is_ready) {
                return Ok(());
            }
            if let Some(status) = operator.exit_status()? {
                return Err(format!("the operator ended ({status})").into());
            }
            if started.elapsed() > DEADLINE {
                return Err(format!("not all objects are Ready after {DEADLINE:?}").into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn rows(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for (kind, objects) in &self.kinds {
            let objects = objects.list(&ListParams::default()).await?;
            rows.extend(objects.iter().map(|object| Row::of(kind, object)));
        }
        Ok(rows)
    }
}

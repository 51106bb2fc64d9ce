//! The chart, rendered and installed by the real Helm into a real apiserver; the operator runs with exactly the arguments,
//! the environment and the `ServiceAccount` of the rendered Deployment.

mod documented;
mod earlier;
mod gitops;
mod hook;
mod install;
mod installation;
mod monitoring;
mod namespaces;
mod options;
mod permissions;
mod readme;
mod recovery;
mod refusals;
mod release;
mod rendering;
mod rotation;
mod schemas;
mod shards;
mod story;
mod tenants;
mod uninstall;
mod upgrades;

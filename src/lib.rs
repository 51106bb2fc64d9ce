//! The vpn-operator: customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud as Kubernetes objects.
//! `docs/contributing/design.md` explains the architecture.
#![forbid(unsafe_code)]

pub mod api;
pub mod cache;
pub mod cloud;
pub mod crd_skew;
pub mod crd_wait;
pub mod error_chain;
pub mod kube_client;
pub mod kube_config;
pub mod leader;
pub mod metrics;
pub mod operator;
pub mod owner_tag;
pub mod probe;
pub mod reconcile;
pub mod settings;
#[cfg(test)]
mod shell_tests;
pub mod simulator;
pub mod telemetry;
pub mod text;
pub mod web;
pub mod wiring;

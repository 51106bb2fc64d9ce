//! The vpn-operator: customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud as
//! Kubernetes objects. `docs/contributing/design.md` explains how the rooms fit together.
#![forbid(unsafe_code)]

pub mod api;
pub mod cloud;
pub mod crd_age;
pub mod crd_wait;
pub mod kinds;
pub mod kube_client;
pub mod kube_config;
pub mod leader;
pub mod metrics;
pub mod mirror;
pub mod operator;
pub mod ownership;
pub mod plain_error;
pub mod plain_text;
pub mod probe;
pub mod reconcile;
pub mod settings;
#[cfg(test)]
mod shell_tests;
pub mod simulator;
pub mod telemetry;
pub mod web;

//! The vpn-operator: customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud as Kubernetes objects.
//! `docs/contributing/design.md` explains the architecture.
#![forbid(unsafe_code)]
// Tests may stop at what they do not expect.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::unwrap_used))]

pub mod error_chain;
pub mod kubernetes;
pub mod leader;
pub mod metrics;
pub mod operator;
pub mod probe;
pub mod reconcile;
pub mod settings;
#[cfg(test)]
mod shell_tests;
mod telemetry;
pub mod web;
pub mod wiring;

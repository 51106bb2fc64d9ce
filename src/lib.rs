//! The vpn-operator: customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud as
//! Kubernetes objects. `docs/design.md` explains how the rooms fit together.
#![forbid(unsafe_code)]

pub mod api;
pub mod cloud;
pub mod mirror;
pub mod ownership;
pub mod reconcile;

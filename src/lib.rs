//! The vpn-operator: customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud as
//! Kubernetes objects. `docs/design.md` explains how the rooms fit together.
#![forbid(unsafe_code)]

pub mod cloud;
pub mod simulator;

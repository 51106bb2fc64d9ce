//! The simulator: the VPN API and the needed parts of IAM, in memory, over HTTP. See `docs/contributing/simulator.md`.
//!
//! A request passes through `api` (log, faults, response). `access` and `auth` decide whether it is permitted, and
//! `dispatch` selects the function that executes it: one file per resource (those of P2C in `p2c/handlers`). `state` has
//! the stores of data (those of P2C in `p2c/stores`). `admin_api` controls the simulator.

#![forbid(unsafe_code)]
// Tests may stop at what they do not expect.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::unwrap_used))]

mod access;
pub mod admin;
mod admin_api;
mod admin_http;
mod api;
mod auth;
mod calls;
mod certificates;
mod clock;
mod connection;
pub mod desk;
mod dispatch;
mod faults;
mod gateway_rules;
mod gateway_store;
mod gateways;
mod holds;
mod iam;
mod ids;
mod operations;
mod p2c;
mod paging;
mod quotas;
mod rate_limit;
mod refusal;
mod reply;
mod request_log;
mod secret_fields;
mod server;
mod settings;
mod state;
#[expect(
    clippy::doc_markdown,
    reason = "the documentation quotes the meanings of the switches word for word"
)]
mod switches;
mod tags;
pub mod tryout;

pub use crate::operations::SimulatedOperation;
pub use crate::p2c::admin as p2c_admin;
pub use crate::server::RunningSimulator;
pub use crate::settings::{Settings, TokenUser};
pub use crate::switches::{SwitchInfo, Switches};

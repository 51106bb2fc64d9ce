//! The simulator: the VPN API and the needed parts of IAM, in memory, over HTTP. See `docs/contributing/simulator.md`.
//!
//! A request passes through `api` (log, faults, response). `access` and `auth` decide whether it is permitted. One file
//! per resource executes it (those of P2C in `p2c`). `admin_api` controls the simulator.

mod access;
pub mod admin;
mod admin_api;
mod api;
mod auth;
mod calls;
mod certificates;
mod clock;
mod connection;
#[cfg(test)]
pub mod desk;
mod faults;
mod gateway_rules;
mod gateways;
mod holds;
mod iam;
mod ids;
mod operations;
mod p2c;
mod paging;
mod quotas;
mod refusal;
mod reply;
mod request_log;
mod server;
mod settings;
mod state;
mod switches;
mod tags;

pub use operations::Operation;
pub use p2c::admin as p2c_admin;
pub use server::RunningSimulator;
pub use settings::{Settings, User, tryout};
pub use switches::{SwitchInfo, Switches};

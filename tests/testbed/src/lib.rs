//! The test bed: a real etcd and kube-apiserver, the cloud's simulator and the operator's own
//! binary, as processes that end with the test run, whatever ends it.
//!
//! It knows nothing of the operator's code; callers hand it the paths of the binaries. The order of
//! a test is: [`ControlPlane::shared`], a namespace of its own, a [`Simulator`], an [`Operator`],
//! and [`eventually`] in place of every sleep.

mod api_proxy;
mod argo_cd;
mod assets;
mod audit;
mod binaries;
mod connection_counter;
mod control_plane;
mod error;
pub mod figures;
mod guardian;
mod http;
mod installation;
mod interrupted;
mod kubelet;
mod memory_limit;
mod operator;
mod permissions;
mod process;
mod simulator;
mod tool;
mod wait;

pub use api_proxy::{Answer, ApiProxy, ApiRequest, Hold, Interference, Line, Moment, Verb};
pub use argo_cd::ArgoCd;
pub use assets::{Assets, GoProgram, Python, Tool};
pub use audit::ApiCall;
pub use binaries::Binaries;
pub use connection_counter::{ConnectionCounter, CountingProxy};
pub use control_plane::ControlPlane;
pub use error::{Error, Result};
pub use figures::{Effort, effort};
pub use guardian::Guardian;
pub use installation::Installation;
pub use interrupted::interrupted;
pub use kubelet::Kubelet;
pub use memory_limit::{MemoryLimit, most_resident, resident, unreclaimable};
pub use operator::Operator;
pub use permissions::{Comparison, Permission};
pub use process::{Launch, Process};
pub use simulator::Simulator;
pub use tool::ToolOutput;
pub use wait::{eventually, eventually_at, wait_for_condition};

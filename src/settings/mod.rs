//! The settings of the process: [`Cli`] is the user input, [`OperatorSettings`] is the checked result.

pub(crate) mod checked;
pub(crate) mod cli;
pub(crate) mod dns_names;
pub mod flag_error;
pub(crate) mod reference;
pub(crate) mod selector;
pub mod validate;
pub(crate) mod values;

pub use crate::settings::checked::{CaBundle, LeaderElection, LogSettings, Namespaces, OperatorSettings};
pub use crate::settings::cli::{Cli, Command, LogFormat, ProbeArgs, RunArgs};
pub use crate::settings::flag_error::FlagError;
pub use crate::settings::reference::{flag_reference, probe_reference};
pub use crate::settings::selector::{SelectorError, check_label_selector};
pub use crate::settings::validate::validate;

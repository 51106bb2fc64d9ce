//! Status from outcomes. Pure.

pub mod outcome;
pub mod record;

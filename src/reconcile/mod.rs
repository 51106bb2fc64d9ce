//! The pipeline, once, for every kind: gather → decide → act → report. A kind is one file with its behaviour.

pub mod customer_gateway;
pub mod decide;
pub mod kind;
pub mod managed;
pub mod record;

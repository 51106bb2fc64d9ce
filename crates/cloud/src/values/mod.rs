//! Values of the API and their bounds. Imports nothing but `text`.

pub(crate) mod bounded_value;
pub(crate) mod fields;
pub mod password;
pub mod password_rules;
pub mod time;

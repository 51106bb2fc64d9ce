//! The types that people write and the decisions about them, without IO. See `docs/contributing/design.md`.
#![forbid(unsafe_code)]
// Tests may stop at what they do not expect.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::unwrap_used))]

pub mod api;
pub mod cache;
pub mod compact_json;
pub(crate) mod compact_set;
pub mod decide;
pub mod kind;
pub mod kinds;
pub mod ledger;
#[cfg(test)]
mod model;
pub mod object;
pub mod object_state;
pub mod observe;
pub mod owner_tag;
pub mod spare_capacity;
pub mod terms;
pub mod write_order;

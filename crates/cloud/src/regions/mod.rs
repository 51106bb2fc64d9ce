//! Regions and endpoints of both clouds.

pub(crate) mod cloud;
pub mod endpoints;
pub(crate) mod table;

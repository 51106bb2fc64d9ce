//! The kinds, a folder each.

pub mod customer_gateway;
pub mod vpn_user;

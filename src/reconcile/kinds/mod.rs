//! Effects of the kinds, a file each: `vpn_core::kinds` has what is pure about them.

pub(crate) mod customer_gateway;
pub(crate) mod vpn_user;

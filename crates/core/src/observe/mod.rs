//! The cache as one object sees it, and who else claims what. Pure.

pub mod claims;
pub mod observer;

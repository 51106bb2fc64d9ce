//! Access keys, where they come from, and signing with them.

pub(crate) mod access_key;
pub(crate) mod credentials_folder;
pub(crate) mod default_credentials;
pub(crate) mod file_stamp;
pub mod keys;
pub mod signing;

//! The simulator through HTTP, as clients and those who drive it see it.

mod admin;
mod authentication;
mod batches;
mod binary;
mod client;
mod cloud_client;
mod cloud_client_users;
mod faults;
mod gateways;
mod groups;
mod lists;
mod p2c;
mod p2c_admin;
mod p2c_faults;
mod p2c_switches;
mod passwords;
mod rate_limit;
mod servers;
mod switches;
mod tags;
mod users;
mod wire;

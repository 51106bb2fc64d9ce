//! The simulator through HTTP, as clients and those who drive it see it.

mod admin;
mod authentication;
mod binary;
mod client;
mod cloud_client;
mod cloud_client_users;
mod faults;
mod gateways;
mod lists;
mod p2c;
mod switches;
mod tags;
mod users;

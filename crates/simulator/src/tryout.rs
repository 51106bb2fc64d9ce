//! Values to try the simulator with. They open nothing but a simulator.

/// Access key of the one credential.
pub const ACCESS_KEY: &str = "TRYOUTACCESSKEY00000";
/// Its secret key.
pub const SECRET_KEY: &str = "TryOutSecretKeyOfTheSimulator00000000000";
/// Name of the one project.
pub const REGION: &str = "eu-west-101";
/// Id of the one project.
pub const PROJECT_ID: &str = "0123456789abcdef0123456789abcdef";
/// Id of the one VPN server.
pub const VPN_SERVER_ID: &str = "5e5e5e5e-0000-4000-8000-000000000001";
/// Id of the P2C gateway that the server belongs to.
pub const P2C_GATEWAY_ID: &str = "9a9a9a9a-0000-4000-8000-000000000001";
pub(crate) const CLIENT_CIDR: &str = "192.168.10.0/24";
/// Name of the IAM user who may fetch tokens.
pub const USER: &str = "tryout-user";
/// The password of that user.
pub const PASSWORD: &str = "Tryout-Password-1";
/// The domain of that user.
pub const DOMAIN: &str = "tryout-domain";

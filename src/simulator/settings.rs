//! With what the simulator starts.

use secrecy::SecretString;

use super::p2c::admin::VpnServerSpec;

/// Values to try it with. They open nothing but a simulator.
pub mod tryout {
    pub const ACCESS_KEY: &str = "TRYOUTACCESSKEY00000";
    pub const SECRET_KEY: &str = "TryOutSecretKeyOfTheSimulator00000000000";
    pub const REGION: &str = "eu-west-101";
    pub const PROJECT_ID: &str = "0123456789abcdef0123456789abcdef";
    pub const VPN_SERVER_ID: &str = "5e5e5e5e-0000-4000-8000-000000000001";
    pub const P2C_GATEWAY_ID: &str = "9a9a9a9a-0000-4000-8000-000000000001";
    pub const CLIENT_CIDR: &str = "192.168.10.0/24";
    pub const USER: &str = "tryout-user";
    pub const PASSWORD: &str = "Tryout-Password-1";
    pub const DOMAIN: &str = "tryout-domain";
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Access keys with their secret keys.
    pub credentials: Vec<(String, SecretString)>,
    /// The name of the project.
    pub region: String,
    pub project_id: String,
    /// Who may fetch tokens.
    pub user: User,
    /// The VPN servers that there are.
    pub vpn_servers: Vec<VpnServerSpec>,
}

/// A user of IAM.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub domain: String,
    pub password: SecretString,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credentials: vec![(tryout::ACCESS_KEY.to_owned(), SecretString::from(tryout::SECRET_KEY))],
            region: tryout::REGION.to_owned(),
            project_id: tryout::PROJECT_ID.to_owned(),
            user: User {
                name: tryout::USER.to_owned(),
                domain: tryout::DOMAIN.to_owned(),
                password: SecretString::from(tryout::PASSWORD),
            },
            vpn_servers: vec![VpnServerSpec {
                id: Some(tryout::VPN_SERVER_ID.to_owned()),
                ..VpnServerSpec::default()
            }],
        }
    }
}

//! With what the simulator starts.

use secrecy::SecretString;

use crate::p2c::P2c;
use crate::p2c::admin::VpnServerSpec;

/// Values to try it with. They open nothing but a simulator.
pub mod tryout {
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
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Access keys with their secret keys.
    pub credentials: Vec<(String, SecretString)>,
    /// The name of the project.
    pub region: String,
    /// The id of the project.
    pub project_id: String,
    /// Who may fetch tokens.
    pub user: TokenUser,
    /// The VPN servers that there are.
    pub vpn_servers: Vec<VpnServerSpec>,
}

/// A user of IAM.
#[derive(Clone, Debug)]
pub struct TokenUser {
    /// As in a login.
    pub name: String,
    /// The name of the domain, as in a login.
    pub domain: String,
    /// For the login.
    pub password: SecretString,
}

impl Settings {
    /// Whether there can be such VPN servers; if not, why.
    pub fn check(&self) -> Result<(), String> {
        P2c::new(&self.vpn_servers, &self.project_id).map(drop)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credentials: vec![(tryout::ACCESS_KEY.to_owned(), SecretString::from(tryout::SECRET_KEY))],
            region: tryout::REGION.to_owned(),
            project_id: tryout::PROJECT_ID.to_owned(),
            user: TokenUser {
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

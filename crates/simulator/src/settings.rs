//! With what the simulator starts.

use secrecy::SecretString;

use crate::admin::RateLimitSpec;
use crate::p2c::admin::VpnServerSpec;
use crate::p2c::stores::P2c;
use crate::rate_limit::RateLimit;
use crate::tryout;

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
    /// Of requests per access key.
    pub rate_limit: RateLimitSpec,
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
    /// Whether there can be such VPN servers and such a limit; if not, the flag and why.
    pub fn check(&self) -> Result<(), String> {
        P2c::new(&self.vpn_servers, &self.project_id).map_err(|text| format!("--vpn-server: {text}"))?;
        RateLimit::new(self.rate_limit).map_err(|text| format!("--rate-limit: {text}"))?;
        Ok(())
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
            rate_limit: RateLimitSpec::default(),
        }
    }
}

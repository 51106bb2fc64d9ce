//! With what the simulator starts.

use secrecy::SecretString;

/// Values to try it with. They open nothing but a simulator.
pub mod tryout {
    pub const ACCESS_KEY: &str = "TRYOUTACCESSKEY00000";
    pub const SECRET_KEY: &str = "TryOutSecretKeyOfTheSimulator00000000000";
    pub const REGION: &str = "eu-west-101";
    pub const PROJECT_ID: &str = "0123456789abcdef0123456789abcdef";
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
        }
    }
}

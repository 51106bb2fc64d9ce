//! The keys of a control plane: an authority, the apiserver's certificate under it, and the key that
//! signs service-account tokens.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::error::{Error, Result};

/// Where they are.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) authority: PathBuf,
    pub(super) server_certificate: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_public_key: PathBuf,
}

impl Certificates {
    /// Makes new ones in a folder.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::<String>::new())?;
        authority.distinguished_name.push(DnType::CommonName, "testbed");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_certificate = authority.self_signed(&authority_key)?;

        let server_key = KeyPair::generate()?;
        let server = CertificateParams::new(["127.0.0.1", "localhost", "kubernetes.default.svc"].map(String::from))?;
        let server_certificate = server.signed_by(&server_key, &Issuer::new(authority, authority_key))?;

        let certificates = Self {
            authority: folder.join("authority.crt"),
            server_certificate: folder.join("apiserver.crt"),
            server_key: folder.join("apiserver.key"),
            service_account_key: folder.join("service-accounts.key"),
            service_account_public_key: folder.join("service-accounts.pub"),
        };
        super::write(&certificates.authority, &authority_certificate.pem())?;
        super::write(&certificates.server_certificate, &server_certificate.pem())?;
        super::write(&certificates.server_key, &server_key.serialize_pem())?;
        let service_account_key = KeyPair::generate()?;
        super::write(&certificates.service_account_key, &service_account_key.serialize_pem())?;
        super::write(
            &certificates.service_account_public_key,
            &service_account_key.public_key_pem(),
        )?;
        Ok(certificates)
    }

    /// The authority, for an HTTP client.
    pub(super) fn authority(&self) -> Result<reqwest::Certificate> {
        let pem =
            std::fs::read(&self.authority).map_err(Error::io(format!("cannot read {}", self.authority.display())))?;
        Ok(reqwest::Certificate::from_pem(&pem)?)
    }
}

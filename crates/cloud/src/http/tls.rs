//! Whom we trust: the system's roots and those of a file, with one crypto provider, chosen here.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use crate::http::options::{CaFileProblem, TransportError};

/// Reads the file and the system's roots.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, TransportError> {
    let extra = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let config = match (Verifier::new_with_extra_roots(extra, provider), ca_file) {
        (Ok(verifier), _) => config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        (Err(error), Some(file)) => return Err(invalid(file, error)),
        // A container without roots can still speak to a simulator; TLS then trusts nobody.
        (Err(error), None) => {
            tracing::warn!(target: "vpn_operator::cloud", %error, "no CA certificates: https endpoints will be refused; a CA file can be given");
            config.with_root_certificates(RootCertStore::empty())
        }
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn read_ca_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let pem = fs::read(file).map_err(|source| TransportError::UnreadableCaFile {
        file: file.to_owned(),
        source,
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(invalid(file, CaFileProblem::Empty)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(invalid(file, error)),
    }
}

fn invalid(file: &Path, problem: impl Into<CaFileProblem>) -> TransportError {
    TransportError::InvalidCaFile {
        file: file.to_owned(),
        source: problem.into(),
    }
}

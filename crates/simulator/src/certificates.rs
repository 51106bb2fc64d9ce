//! CA certificates of gateways: what the cloud checks in a PEM, and what it returns.

use axum::http::StatusCode;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::{
    asn1_rs::Oid,
    oid_registry::{
        OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
    },
    pem::parse_x509_pem,
};

use crate::refusal::ApiRefusal;

/// The stored fields of an uploaded certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub id: String,
    pub project_id: String,
    pub serial_number: String,
    pub signature_algorithm: &'static str,
    pub issuer: String,
    pub subject: String,
    pub expire_time: Timestamp,
    pub fingerprint: Vec<u8>,
}

impl Certificate {
    /// Reads a PEM as the cloud does.
    pub(crate) fn read(id: String, project_id: &str, content: &str, now: Timestamp) -> Result<Self, ApiRefusal> {
        let (_, pem) = parse_x509_pem(content.as_bytes())
            .ok()
            .filter(|(_, pem)| pem.label == "CERTIFICATE")
            .ok_or_else(|| refused("VPN.0074", "the format of the certificate is incorrect"))?;
        let certificate = pem
            .parse_x509()
            .map_err(|_| refused("VPN.0075", "the content of the certificate is incorrect"))?;
        let key_algorithm = &certificate.public_key().algorithm.algorithm;
        if *key_algorithm != OID_PKCS1_RSAENCRYPTION && *key_algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Err(refused(
                "VPN.0070",
                "the key algorithm of the certificate is not supported",
            ));
        }
        let signature_algorithm = signature_name(&certificate.signature_algorithm.algorithm).ok_or_else(|| {
            refused(
                "VPN.0071",
                "the signature algorithm of the certificate is not supported",
            )
        })?;
        let validity = certificate.validity();
        let instant = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let expire_time = instant(validity.not_after.timestamp());
        if expire_time < now {
            return Err(refused("VPN.0072", "the certificate has expired"));
        }
        if now < instant(validity.not_before.timestamp()) {
            return Err(refused("VPN.0073", "the certificate is not yet valid"));
        }
        if !certificate.is_ca() {
            return Err(refused("VPN.0076", "the certificate is not a CA certificate"));
        }
        Ok(Self {
            id,
            project_id: project_id.to_owned(),
            serial_number: certificate.raw_serial_as_string().replace(':', ""),
            signature_algorithm,
            issuer: certificate.issuer().to_string(),
            subject: certificate.subject().to_string(),
            expire_time,
            fingerprint: Sha256::digest(&pem.contents).to_vec(),
        })
    }
}

/// VPN.0077.
pub(crate) fn duplicate() -> ApiRefusal {
    refused("VPN.0077", "the certificate already exists")
}

fn refused(code: &str, why: &str) -> ApiRefusal {
    ApiRefusal::service(StatusCode::BAD_REQUEST, code, format!("invalid ca_certificate: {why}"))
}

fn signature_name(algorithm: &Oid<'_>) -> Option<&'static str> {
    [
        (OID_PKCS1_SHA256WITHRSA, "sha256WithRSAEncryption"),
        (OID_PKCS1_SHA384WITHRSA, "sha384WithRSAEncryption"),
        (OID_PKCS1_SHA512WITHRSA, "sha512WithRSAEncryption"),
        (OID_SIG_ECDSA_WITH_SHA256, "ecdsa-with-SHA256"),
        (OID_SIG_ECDSA_WITH_SHA384, "ecdsa-with-SHA384"),
        (OID_SIG_ECDSA_WITH_SHA512, "ecdsa-with-SHA512"),
    ]
    .into_iter()
    .find_map(|(known, name)| (*algorithm == known).then_some(name))
}

//! The kinds that this operator looks after: their CRDs, and the controllers behind them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use thiserror::Error;

use crate::operator::Rooms;

/// Why the CRDs cannot be told.
#[derive(Debug, Error)]
#[error("the CRDs cannot be written: {0}")]
pub struct CrdsError(pub String);

/// Every CRD that belongs to this version.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, CrdsError> {
    Ok(Vec::new())
}

/// Every CRD that belongs to this version, as YAML documents.
pub fn crd_yaml() -> Result<String, CrdsError> {
    crds()?.iter().try_fold(String::new(), |text, crd| {
        let document = serde_saphyr::to_string(crd).map_err(|error| CrdsError(error.to_string()))?;
        Ok(format!("{text}---\n{document}"))
    })
}

/// Runs the controllers of all kinds until they are told to stop.
pub async fn controllers(rooms: Rooms) -> Result<(), String> {
    rooms.shutdown.cancelled().await;
    Ok(())
}

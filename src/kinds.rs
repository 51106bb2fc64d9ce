//! The kinds that this operator looks after: their CRDs, and the controllers behind them.

use thiserror::Error;

use crate::{api, operator::Rooms};

/// Why the CRDs cannot be told.
#[derive(Debug, Error)]
pub enum CrdsError {
    #[error(transparent)]
    Schema(#[from] api::crd::CrdError),
    #[error("a CRD cannot be written as YAML: {0}")]
    Yaml(String),
}

/// Every CRD that belongs to this version, as YAML documents.
pub fn crd_yaml() -> Result<String, CrdsError> {
    api::crds()?.iter().try_fold(String::new(), |text, crd| {
        let document = serde_saphyr::to_string(crd).map_err(|error| CrdsError::Yaml(error.to_string()))?;
        Ok(format!("{text}---\n{document}"))
    })
}

/// Runs the controllers of all kinds until they are told to stop.
pub async fn controllers(rooms: Rooms) -> Result<(), String> {
    rooms.shutdown.cancelled().await;
    Ok(())
}

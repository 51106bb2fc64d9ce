//! Waiting for the person at the terminal.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};

/// Returns at Ctrl-C, or `kill`.
pub async fn interrupted() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).map_err(Error::io("cannot wait for SIGTERM"))?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome.map_err(Error::io("cannot wait for Ctrl-C"))?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

//! The admin API of the simulator as methods. Bodies and answers are the caller's types: the simulator's own, or
//! [`serde_json::Value`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Simulator;
use crate::error::{Error, Result};

/// Less than the longest wait that the simulator accepts.
const HOLD_DEADLINE: Duration = Duration::from_secs(110);

#[derive(Deserialize)]
struct Counts {
    last_sequence: u64,
    by_operation: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Gateways<T> {
    gateways: Vec<T>,
}

#[derive(Deserialize)]
struct Users<T> {
    users: Vec<T>,
}

#[derive(Deserialize)]
struct Held<T> {
    enough: bool,
    held: Vec<T>,
}

#[derive(Deserialize)]
struct Log {
    requests: Vec<Logged>,
}

#[derive(Deserialize)]
struct Logged {
    method: String,
    operation: String,
}

impl Simulator {
    /// The number of the latest request: tests read the requests after it.
    pub async fn last_sequence(&self) -> Result<u64> {
        Ok(self.get::<Counts>("counts").await?.last_sequence)
    }

    /// How often each operation was called after that request (0: ever).
    pub async fn calls_since(&self, sequence: u64) -> Result<BTreeMap<String, u64>> {
        Ok(self
            .get::<Counts>(&format!("counts?since={sequence}"))
            .await?
            .by_operation)
    }

    /// All counts of the requests after that one.
    pub async fn counts_since<T: DeserializeOwned>(&self, sequence: u64) -> Result<T> {
        self.get(&format!("counts?since={sequence}")).await
    }

    /// The log of the requests after that one.
    pub async fn log_since<T: DeserializeOwned>(&self, sequence: u64) -> Result<T> {
        self.get(&format!("log?since={sequence}")).await
    }

    /// The operations of the requests after that one that are not reads, in their order.
    pub async fn writes_since(&self, sequence: u64) -> Result<Vec<String>> {
        let log: Log = self.log_since(sequence).await?;
        let writes = log.requests.into_iter().filter(|request| request.method != "GET");
        Ok(writes.map(|request| request.operation).collect())
    }

    /// Everything but secrets.
    pub async fn state<T: DeserializeOwned>(&self) -> Result<T> {
        self.get("state").await
    }

    /// Restores the initial state.
    pub async fn reset(&self) -> Result<()> {
        self.post("reset", &()).await
    }

    /// All gateways, whatever the switches say.
    pub async fn gateways<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        Ok(self.get::<Gateways<T>>("gateways").await?.gateways)
    }

    /// The VPN users of all servers.
    pub async fn users<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        Ok(self.get::<Users<T>>("vpn-users").await?.users)
    }

    /// Creates a VPN user, or a list of them, outside the cloud's API.
    pub async fn seed_users<T: DeserializeOwned>(&self, seeds: &impl Serialize) -> Result<Vec<T>> {
        Ok(self.post::<Users<T>>("vpn-users", seeds).await?.users)
    }

    /// Changes a VPN user outside the cloud's API.
    pub async fn edit_user(&self, id: &str, edit: &impl Serialize) -> Result<()> {
        self.patch::<Value>(&format!("vpn-users/{id}"), edit).await?;
        Ok(())
    }

    /// Removes a VPN user outside the cloud's API.
    pub async fn remove_user(&self, id: &str) -> Result<()> {
        self.delete::<Value>(&format!("vpn-users/{id}")).await?;
        Ok(())
    }

    /// Whether this is the password in force of a VPN user.
    pub async fn is_password(&self, id: &str, candidate: &str) -> Result<bool> {
        let body = serde_json::json!({"password": candidate});
        let answer: Value = self.post(&format!("vpn-users/{id}/check-password"), &body).await?;
        Ok(answer["current"] == true)
    }

    /// Sets how long slow operations take that begin from now on.
    pub async fn set_pace(&self, slow: Duration) -> Result<()> {
        let milliseconds = u64::try_from(slow.as_millis()).unwrap_or(u64::MAX);
        self.put::<Value>("pace", &serde_json::json!({"slow_ms": milliseconds}))
            .await?;
        Ok(())
    }

    /// `GET` of any endpoint of the admin API.
    pub async fn admin_get<T: DeserializeOwned>(&self, page: &str) -> Result<T> {
        self.get(page).await
    }

    /// `POST` to any endpoint of the admin API.
    pub async fn admin_post<T: DeserializeOwned>(&self, page: &str, body: &impl Serialize) -> Result<T> {
        self.post(page, body).await
    }

    /// `PATCH` of any endpoint of the admin API.
    pub async fn admin_patch<T: DeserializeOwned>(&self, page: &str, body: &impl Serialize) -> Result<T> {
        self.patch(page, body).await
    }

    /// `DELETE` of any endpoint of the admin API.
    pub async fn admin_delete<T: DeserializeOwned>(&self, page: &str) -> Result<T> {
        self.delete(page).await
    }

    /// Creates a gateway, or a list of them, outside the cloud's API.
    pub async fn seed_gateways<T: DeserializeOwned>(&self, seeds: &impl Serialize) -> Result<Vec<T>> {
        Ok(self.post::<Gateways<T>>("gateways", seeds).await?.gateways)
    }

    /// Changes a gateway outside the cloud's API.
    pub async fn edit_gateway(&self, id: &str, edit: &impl Serialize) -> Result<()> {
        self.patch::<Value>(&format!("gateways/{id}"), edit).await?;
        Ok(())
    }

    /// Removes a gateway outside the cloud's API.
    pub async fn remove_gateway(&self, id: &str) -> Result<()> {
        self.delete::<Value>(&format!("gateways/{id}")).await?;
        Ok(())
    }

    /// Adds a fault for requests to come.
    pub async fn add_fault(&self, fault: &impl Serialize) -> Result<()> {
        self.post::<Value>("faults", fault).await?;
        Ok(())
    }

    /// Forgets the faults that have hits left.
    pub async fn clear_faults(&self) -> Result<()> {
        self.delete("faults").await
    }

    /// Sets switches; those that are not named return to their defaults.
    pub async fn set_switches(&self, positions: &impl Serialize) -> Result<()> {
        self.put::<Value>("switches", positions).await?;
        Ok(())
    }

    /// Waits until so many requests are held.
    pub async fn wait_for_held<T: DeserializeOwned>(&self, count: usize) -> Result<Vec<T>> {
        let path = format!("held?count={count}&timeout_ms={}", HOLD_DEADLINE.as_millis());
        let Held { enough, held } = self.get::<Held<T>>(&path).await?;
        if enough {
            return Ok(held);
        }
        let awaited = format!("{count} held requests");
        Err(Error::Deadline {
            awaited,
            deadline: HOLD_DEADLINE,
            last: format!("{} are held", held.len()),
        })
    }

    /// Releases held requests: `{}` for all, `{"id": …}` for one, `"drop": true` closes the connection.
    pub async fn release(&self, which: &impl Serialize) -> Result<()> {
        self.post::<Value>("release", which).await?;
        Ok(())
    }
}

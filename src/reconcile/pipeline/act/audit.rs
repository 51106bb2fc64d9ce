//! The audit log: one line for each write to the cloud, with its cause and its end. It contains field names, never values.

use std::time::Instant;

use futures::future::BoxFuture;
use tracing::info;
use vpn_cloud::{CloudError, CloudResponse, Operation};
use vpn_core::kind::Kind;
use vpn_core::object::Object;

/// Why a write is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteCause {
    /// The object has no resource yet, or lost it.
    Create,
    /// The spec was changed, or is applied for the first time.
    Edit,
    /// The resource was changed by someone else.
    Drift,
    /// The resource existed before, and now belongs to the object.
    Adoption,
    /// The content of a Secret was changed.
    Rotation,
    /// The object is deleted.
    Delete,
    /// A creation resulted in two resources.
    Duplicate,
}

impl WriteCause {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Edit => "edit",
            Self::Drift => "drift",
            Self::Adoption => "adoption",
            Self::Rotation => "rotation",
            Self::Delete => "delete",
            Self::Duplicate => "duplicate",
        }
    }
}

/// What the line of a write says besides its object and its end.
#[derive(Debug)]
pub(super) struct Audited<'a> {
    pub operation: Operation,
    /// Of the resource. A creation has none until the cloud returns it.
    pub id: Option<&'a str>,
    /// Paths in the spec, separated by commas.
    pub fields: String,
    pub cause: WriteCause,
}

/// Sends a request and writes its line. If the wait for the response ends early, the line reports that.
///
/// `id_of`: the ID in the response to a creation.
pub(super) async fn audited<K: Kind, T>(
    object: &Object<K>,
    audited: Audited<'_>,
    request: BoxFuture<'_, Result<CloudResponse<T>, CloudError>>,
    id_of: impl Fn(&T) -> Option<&str> + Send,
) -> Result<CloudResponse<T>, CloudError> {
    let mut line = AuditLine {
        object,
        audited,
        began: Instant::now(),
        has_ended: false,
    };
    let answer = request.await;
    match &answer {
        Ok(response) => line.write("ok", id_of(&response.value), response.request_id.as_deref(), None),
        Err(error) if error.outcome_unknown => {
            line.write("unknown", None, error.request_id.as_deref(), Some(error));
        }
        Err(error) if error.status.is_some() => {
            line.write("refused", None, error.request_id.as_deref(), Some(error));
        }
        // It was not sent: there was no connection, or it could not be signed.
        Err(_) => {}
    }
    line.has_ended = true;
    answer
}

struct AuditLine<'a, K: Kind> {
    object: &'a Object<K>,
    audited: Audited<'a>,
    began: Instant,
    has_ended: bool,
}

impl<K: Kind> AuditLine<'_, K> {
    fn write(&self, outcome: &str, id: Option<&str>, request_id: Option<&str>, error: Option<&CloudError>) {
        let Audited {
            operation,
            id: known_id,
            fields,
            cause,
        } = &self.audited;
        info!(
            target: "vpn_operator::audit",
            operation = operation.name(),
            kind = K::KIND,
            namespace = self.object.namespace(),
            name = self.object.name(),
            uid = self.object.uid(),
            id = known_id.or(id),
            fields = (!fields.is_empty()).then_some(fields.as_str()),
            cause = cause.name(),
            outcome,
            request_id,
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error = error.map(tracing::field::display),
            "cloud write"
        );
    }
}

impl<K: Kind> Drop for AuditLine<'_, K> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.write("unknown", None, None, None);
        }
    }
}

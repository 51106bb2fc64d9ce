//! What an object owns, claims and waits for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Users, is_made_by_us};
use crate::api::Intent;
use crate::api::user_record::SentUser;
use crate::kind::{Ownership, RecordContext};
use crate::terms::guard::Guard;
use crate::terms::policy::Policy;

impl Ownership for Users {
    fn claimed_name(_: Option<&Self::Spec>, name: &str) -> String {
        // Whether names are case-sensitive is not documented.
        name.to_ascii_lowercase()
    }

    fn claimed_name_of(remote: &Self::Remote) -> Option<String> {
        remote.name.as_deref().map(str::to_ascii_lowercase)
    }

    fn is_of_record(status: &Self::Status, remote: &Self::Remote, policy: &Policy) -> bool {
        if !policy.keeps(Guard::WindowOfRecord) {
            return remote.name == status.name;
        }
        is_made_by_us(
            status,
            status.object.intent.as_ref(),
            remote,
            policy.confirmation_period,
        )
    }

    fn confirmed_at(status: &Self::Status) -> Option<&Time> {
        status.record.confirmed_at.as_ref()
    }

    fn awaited(status: &mut Self::Status) -> Vec<&mut Time> {
        let intent = status.object.intent.as_mut().map(|intent| &mut intent.deadline);
        let reset = status.record.password_reset.as_mut().map(|reset| &mut reset.deadline);
        let confirmed_at = status.record.confirmed_at.as_mut();
        intent.into_iter().chain(reset).chain(confirmed_at).collect()
    }

    fn resolves_intent(intent: &Intent, remote: &Self::Remote, record: &RecordContext<'_>) -> bool {
        remote.name.as_deref() == Some(intent.name.as_str()) && record.is_in_window::<Self>(intent, remote)
    }

    fn resolves_all_intents(status: &Self::Status, remote: &Self::Remote) -> bool {
        let record = &status.record;
        // It may have been adopted under another name than the one that was sent or lost.
        let has_the_name = |sent: &SentUser| remote.name.as_deref() == Some(sent.name.as_str());
        let is_lost = || record.disappeared_ids.contains(&remote.id);
        record.sent.as_ref().map_or_else(is_lost, has_the_name)
    }

    fn lost_ids(status: &Self::Status) -> &[String] {
        &status.record.disappeared_ids
    }
}

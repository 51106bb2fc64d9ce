//! Decisions to read.

use crate::api::conditions::{ReadyCondition, Reason};
use crate::cache::{Query, Remote};
use crate::decide::inputs::Inputs;
use crate::decide::step::{Rest, Step};
use crate::decide::stops::report_failure;
use crate::kind::Kind;
use crate::terms::failure::{Failure, RETRY};
use crate::terms::guard::Guard;

pub(crate) fn query<K: Kind>(inputs: &Inputs<'_, K>, query: Query) -> Step<K> {
    match &inputs.failed_query {
        Some(failure) => report_failure(inputs, failure),
        None => Step::Query { query, fresh: false },
    }
}

/// Returns the query that shows the owner of an object.
pub(crate) fn owner_of<K: Kind>(id: &str) -> Query {
    if K::Remote::TAGGED {
        Query::Tags(id.to_owned())
    } else {
        Query::Whole(id.to_owned())
    }
}

pub(crate) fn read_before_delete<K: Kind>(inputs: &Inputs<'_, K>, query: Query) -> Step<K> {
    match &inputs.failed_query {
        Some(failure) => Step::Rest(Rest::Failed(failure.clone())),
        None => Step::Query { query, fresh: false },
    }
}

/// Reads an object whose fields a list may have omitted, before any conclusion from them.
pub(crate) fn read_omitted_fields<K: Kind>(inputs: &Inputs<'_, K>) -> Option<Step<K>> {
    let id = inputs.observation.unread.first()?;
    let is_read_first = inputs.policy.keeps(Guard::FieldsBeforeConclusions);
    is_read_first.then(|| query(inputs, Query::Whole(id.clone())))
}

/// One answer reports that the object does not exist: a LIST that starts later must confirm it.
pub(crate) fn confirm_absence<K: Kind>(
    inputs: &Inputs<'_, K>,
    id: &str,
    list_incomplete: bool,
    query: impl Fn(&Inputs<'_, K>, Query) -> Step<K>,
) -> Step<K> {
    if !list_incomplete {
        return query(inputs, Query::Collection);
    }
    let message = format!(
        "whether the {} {id} still exists is not known: one request for it was answered with 404, and the cloud's \
         list, which is to confirm that, is incomplete; both are read again",
        K::NOUN
    );
    let condition = ReadyCondition::new(Reason::CloudError, message);
    let failure = Failure {
        condition,
        backoff: RETRY,
    };
    if inputs.deleting_since.is_some() {
        return Step::Rest(Rest::Failed(failure));
    }
    report_failure(inputs, &failure)
}

//! What the process remembers of its objects between reconciliations.

pub(crate) mod initial_sync;
pub(crate) mod object_states;
pub(crate) mod queue;
pub(crate) mod references;
pub(crate) mod registrations;
pub(crate) mod wake_queues;
pub(crate) mod watched_objects;

//! Requests that wait to be released.

use tokio::sync::oneshot;

use crate::admin::HeldRequest;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// The request continues.
    GoOn,
    /// Its connection is closed.
    Drop,
}

/// The requests that wait now.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    waiting: Vec<(HeldRequest, oneshot::Sender<Release>)>,
    last_id: u64,
}

impl Holds {
    /// Puts a request on hold. The channel receives how the wait ends (closed: dropped).
    pub(crate) fn hold(&mut self, mut request: HeldRequest) -> oneshot::Receiver<Release> {
        let (sender, receiver) = oneshot::channel();
        self.last_id += 1;
        request.id = self.last_id;
        self.waiting.push((request, sender));
        receiver
    }

    pub(crate) fn list(&self) -> impl Iterator<Item = &HeldRequest> {
        self.waiting.iter().map(|(request, _)| request)
    }

    /// Releases one request, or all. Returns how many.
    pub(crate) fn release(&mut self, id: Option<u64>, how: Release) -> usize {
        let chosen: Vec<_> = self
            .waiting
            .extract_if(.., |(held, _)| id.is_none_or(|id| held.id == id))
            .collect();
        let count = chosen.len();
        for (_, sender) in chosen {
            // The receiver may be closed when the simulator stops.
            let _ = sender.send(how);
        }
        count
    }
}

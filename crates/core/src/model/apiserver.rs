//! The process and the apiserver: what the watch delivers, and writes that are pinned to the version that was read.

use std::sync::Arc;

use crate::model::cr::version;
use crate::model::kept::Kept;
use crate::model::kinds::Modelled;
use crate::model::operator::Work;
use crate::model::world::{CrKnowledge, ModelWorld};
use crate::object::Object;
use crate::object::stored_object::StoredObject;
use crate::object_state::ObjectState;
use crate::terms::guard::Guard;

/// Another writer changed the CR meanwhile.
pub(crate) struct Conflict;

impl<K: Modelled> Work<'_, K> {
    /// The watch delivers what the apiserver has.
    pub(crate) fn hear(mut self) -> Option<ModelWorld<K>> {
        match (
            self.world.crs[self.index].object.clone(),
            &self.world.process.seats[self.index].heard,
        ) {
            (None, CrKnowledge::Nothing) => return None,
            (None, CrKnowledge::Listed(_) | CrKnowledge::Known(..)) => self.forget(),
            (Some(object), CrKnowledge::Known(..)) => self.observe(&object),
            (Some(object), CrKnowledge::Nothing | CrKnowledge::Listed(_)) => {
                self.world.process.seats[self.index].heard = CrKnowledge::Listed(object);
            }
        }
        Some(self.done())
    }

    /// The watch delivers what it had delivered before.
    pub(crate) fn hear_again(mut self, back: usize) -> Option<ModelWorld<K>> {
        let cr = &self.world.crs[self.index];
        let older = match back.checked_sub(1) {
            Some(back) => cr.older.get(back)?.clone(),
            None => cr.object.clone()?,
        };
        self.observe(&older);
        Some(self.done())
    }

    /// The Secret that the CR names was written.
    pub(crate) fn hear_of_secret(mut self) -> ModelWorld<K> {
        let now = self.now;
        self.with_entry(|entry| entry.mark_dirty(now));
        self.done()
    }

    pub(crate) fn write(&mut self, base: &Kept<Object<K>>, status: K::Status) -> Result<Kept<Object<K>>, Conflict> {
        if status == base.status {
            return Ok(base.clone());
        }
        self.write_object(base, |object| object.status = without_words::<K>(status))
    }

    /// Writes what was decided: if the CR has changed meanwhile, the decision is taken again on what it is now.
    pub(crate) fn write_object(
        &mut self,
        base: &Kept<Object<K>>,
        change: impl FnOnce(&mut Object<K>),
    ) -> Result<Kept<Object<K>>, Conflict> {
        let written = self.put(base, change);
        if let (Err(Conflict), Some(newest)) = (&written, self.world.crs[self.index].object.clone()) {
            self.observe(&newest);
        }
        written
    }

    /// Writes to the apiserver, pinned to the version that was read.
    fn put(
        &mut self,
        base: &Kept<Object<K>>,
        change: impl FnOnce(&mut Object<K>),
    ) -> Result<Kept<Object<K>>, Conflict> {
        let is_pinned = self.check.policy.keeps(Guard::PinnedWrites);
        let cr = &mut self.world.crs[self.index];
        let Some(newest) = &cr.object else {
            self.forget();
            return Err(Conflict);
        };
        if is_pinned && version(newest) != version(base) {
            return Err(Conflict);
        }
        cr.write(self.check.scope.stale, change);
        let written = cr.object.clone();
        if let (Some(written), Some((entry, latest))) = (&written, &mut self.entry) {
            entry.latest = StoredObject::Whole(written.shared());
            *latest = written.clone();
        }
        // A CR that is deleted with its finalizer still counts as written.
        Ok(written.unwrap_or_else(|| base.clone()))
    }

    /// Records what has happened, even if the CR has changed meanwhile. Returns whether it still exists.
    pub(crate) fn write_surely(&mut self, base: &Kept<Object<K>>, change: impl Fn(&mut K::Status)) -> bool {
        let mut base = base.clone();
        for _ in 0..2 {
            let mut status = base.status.clone();
            change(&mut status);
            let is_same = status == base.status;
            if is_same
                || self
                    .put(&base, |object| object.status = without_words::<K>(status))
                    .is_ok()
            {
                return true;
            }
            match &self.world.crs[self.index].object {
                Some(newest) => base = newest.clone(),
                None => return false,
            }
        }
        false
    }

    pub(crate) fn with_entry(&mut self, change: impl FnOnce(&mut ObjectState<K>)) {
        if let Some((entry, _)) = &mut self.entry {
            change(entry);
        }
    }

    pub(crate) fn observe(&mut self, object: &Kept<Object<K>>) {
        let Some((entry, latest)) = &mut self.entry else {
            return;
        };
        let shared = object.shared();
        entry.observe(Arc::clone(&shared), self.now);
        if Arc::ptr_eq(&entry.latest(), &shared) {
            *latest = object.clone();
        }
    }

    pub(crate) fn forget(&mut self) {
        let key = ModelWorld::<K>::key(self.index);
        self.known.forget(&key);
        self.entry = None;
        self.world.process.seats[self.index].heard = CrKnowledge::Nothing;
    }
}

/// Clears messages: no decision depends on them, and they would turn one state into many.
fn without_words<K: Modelled>(mut status: K::Status) -> K::Status {
    for condition in &mut K::object_mut(&mut status).conditions {
        condition.message = String::new();
    }
    status
}

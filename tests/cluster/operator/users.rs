//! Users: their life, their passwords, and what makes them hard.

mod adoption;
mod calls;
mod creation;
mod deletion;
mod groups;
pub(crate) mod life;
mod names;
mod pages;
mod passwords;
mod policies;
mod read_only;
mod replays;
pub(crate) mod steps;
mod switches;
mod watching;
mod write_queues;

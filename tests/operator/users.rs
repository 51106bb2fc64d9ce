//! Users: their life, their passwords, and what makes them hard.

mod life;
mod policies;
mod read_only;
mod watching;

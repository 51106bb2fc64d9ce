//! Users: their life, their passwords, and what makes them hard.

mod calls;
mod iam;
mod life;
mod passwords;
mod policies;
mod read_only;
mod watching;

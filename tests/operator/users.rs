//! Users: their life, their passwords, and what makes them hard.

mod calls;
mod groups;
mod iam;
mod lanes;
mod life;
mod passwords;
mod policies;
mod read_only;
mod switches;
mod watching;

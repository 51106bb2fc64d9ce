//! Users: their life, their passwords, and what makes them hard.

mod calls;
mod iam;
mod life;
mod passwords;

//! Users: their life, their passwords, and what makes them hard.

mod iam;
mod life;

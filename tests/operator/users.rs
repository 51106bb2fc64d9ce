//! Users: their life, their passwords, and what makes them hard.

mod calls;
mod life;
mod passwords;

//! Users: their life, their passwords, and what makes them hard.

mod adoption;
mod creation;
mod deletion;
mod life;
mod names;
mod steps;

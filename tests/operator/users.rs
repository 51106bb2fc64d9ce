//! Users: their life, their passwords, and what makes them hard.

mod groups;
mod lanes;
mod life;
mod switches;

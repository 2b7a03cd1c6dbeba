//! What keeps the rules apart: for each condition of a rule a round that only this condition
//! decides, with every finding that must come of it.

mod beside;
mod repository;
mod tables;
mod writes;

//! The history: blocks by themselves, and sealing through the store.

mod blocks;
mod replay;
mod rollups;
pub(in crate::store) mod sealing;
pub(in crate::store) mod world;

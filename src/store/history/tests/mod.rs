//! The history: blocks by themselves, and sealing through the store.

mod blocks;
mod replay;
mod rollups;
mod sealing;
mod world;

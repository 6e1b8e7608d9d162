//! The history: blocks by themselves, and sealing through the store.

mod blocks;
mod rollups;
mod sealing;
mod world;

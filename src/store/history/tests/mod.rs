//! The history: blocks by themselves, and sealing through the store.

mod blocks;
mod sealing;
mod world;

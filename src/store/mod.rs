//! The store: what lagline remembers, in one SQLite file.

pub mod codec;
pub mod frame;

//! The store: what lagline remembers, in one SQLite file.

pub mod frame;

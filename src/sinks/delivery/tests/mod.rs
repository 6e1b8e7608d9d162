//! The worker against a scripted sink, on virtual time.
//!
//! Each test says what the server answers and asserts what arrived, in which order, at which
//! virtual second, and that every row is accounted for.

mod faults;
mod random;
mod selection;
mod shutdown;
mod world;

//! TOML to checked configuration.

pub mod patterns;
pub mod secret;
pub mod section;
pub mod values;

//! TOML to checked configuration.

pub mod secret;

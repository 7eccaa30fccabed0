//! The command line, one file per command.

pub mod credentials;
pub mod token;

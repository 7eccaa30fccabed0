//! The whole configuration file, one field per part.

pub mod load;

//! Builds the parts from the configuration and runs them.

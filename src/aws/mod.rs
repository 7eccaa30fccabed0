//! AWS credentials and request signing.

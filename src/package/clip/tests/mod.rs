//! Clips as they are promised and as they are written.

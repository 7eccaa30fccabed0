//! Media bytes: one fetch, many readers.

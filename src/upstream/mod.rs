//! Calls to Kinesis Video Streams.

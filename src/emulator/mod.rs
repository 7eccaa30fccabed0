//! A Kinesis Video Streams that runs on loopback.

//! MP4 as it is written here: boxes, init segments, fragments, indexes. No parsing, no media.

pub(super) mod fragment;
pub(super) mod index;
pub(super) mod init;
pub(super) mod track;
pub(super) mod writer;

//! The body of a list of fragments: the next one is taken when the client has taken the one before.

use super::failure::Failure;
use super::reader::FragmentReader;
use crate::net::body::{Broken, ByteStream};
use crate::net::stepped_body::{Steps, stepped};
use crate::package::Document;
use bytes::Bytes;
use std::collections::VecDeque;

/// `first`, then what `reader` yields.
pub(super) fn body(first: Option<Document>, reader: FragmentReader) -> ByteStream {
    stepped(first.as_ref().map(pieces).unwrap_or_default(), reader, None, |_| ())
}

fn pieces(document: &Document) -> VecDeque<Bytes> {
    document.slices(0..document.len()).collect()
}

impl Steps for FragmentReader {
    async fn step(mut self) -> Option<(Result<VecDeque<Bytes>, Broken>, Self)> {
        let fragment = self.next().await?;
        Some((fragment.map(|document| pieces(&document)).map_err(Failure::into_broken), self))
    }
}

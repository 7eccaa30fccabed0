//! A clip as GetClip makes it (docs/KVS.md 4.4): kept if its footage has settled, else shared while it is on
//! its way.

use super::{Object, Source, Stream};
use crate::base::clock;
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Head, Key};
use crate::kvs::operations::GetClip;
use crate::kvs::{Call, MediaFormat, Timestamp};
use crate::upstream::{self, Located};
use http::HeaderValue;
use std::time::Duration;

/// One clip.
#[derive(Clone)]
pub struct Clip {
    /// Of which stream.
    pub stream: Stream,
    /// As it is asked for; its range has an end.
    pub call: GetClip,
}

impl Object for Clip {
    fn located(&self) -> &Located {
        self.stream.located()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.stream.retention())
    }

    fn key(&self) -> Key {
        let (kind, range) = (self.call.selector.kind, self.call.selector.range);
        Key::clip(self.stream.arn(), kind, range.start, range.end.unwrap_or(range.start))
    }

    async fn fetch(self, from: Source) -> Result<Fetched, upstream::Error> {
        let range = self.call.selector.range;
        let answer = from.call(&Call::GetClip(self.call)).await?;
        let now = Timestamp::from(clock::now());
        let content_type = HeaderValue::from_static(MediaFormat::Mp4.content_type());
        let head = Head::new(content_type, answer.length, now);
        Ok(Fetched { head, keep: from.keep(Kind::Clip { range }, now), body: answer.body })
    }
}

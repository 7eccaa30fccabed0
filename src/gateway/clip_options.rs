//! How a clip is to be made: what the query of `clip.mp4` and `clip.mkv` says besides its range.

use super::error::Error;
use super::route::ClipFile;
use crate::kvs::{TimeRange, Timestamp};
use crate::net::query::{Invalid, Query};
use crate::package::clip::{Format, LONGEST_PLAIN};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClipOptions {
    pub(super) maker: ClipMaker,
    /// `trim=exact`: nothing ahead of `start` is presented.
    pub(super) exact: bool,
    /// Whether `end` was given.
    pub(super) has_end: bool,
}

/// Who makes the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClipMaker {
    /// kvs-edge, of stored fragments.
    Packaged(Format),
    /// `source=kvs`: KVS's GetClip.
    Kvs,
}

impl ClipOptions {
    /// Reads the options.
    ///
    /// # Errors
    /// One that is not known, or that does not fit the others.
    pub(super) fn read(query: &Query<'_>, file: ClipFile) -> Result<Self, Error> {
        let plain = query.only("format", "plain")?;
        let exact = query.only("trim", "exact")?;
        let kvs = query.only("source", "kvs")?;
        let has_end = query.text("end")?.is_some();
        let refused = |name, problem: &str| Err(Invalid::new(name, problem).into());
        let maker = match (file, plain, kvs) {
            (ClipFile::Matroska, true, _) => return refused("format", "is for clip.mp4 only"),
            (ClipFile::Matroska, _, true) => return refused("source", "is for clip.mp4 only"),
            (ClipFile::Matroska, ..) if exact => {
                return refused("trim", "is for clip.mp4 only: Matroska has no edit list");
            }
            (_, true, true) => {
                return refused("format", "does not go with source=kvs, which is plain already");
            }
            (_, false, true) if exact => return refused("trim", "does not go with source=kvs"),
            (ClipFile::Matroska, ..) => ClipMaker::Packaged(Format::Matroska),
            (ClipFile::Mp4, false, true) => ClipMaker::Kvs,
            (ClipFile::Mp4, true, false) => ClipMaker::Packaged(Format::Plain),
            (ClipFile::Mp4, false, false) => ClipMaker::Packaged(Format::Fragmented),
        };
        Ok(Self { maker, exact, has_end })
    }

    /// Whether a clip of this range can be made so.
    ///
    /// # Errors
    /// The range is too long, or its end is still to come.
    pub(super) fn check(self, range: TimeRange, now: Timestamp) -> Result<(), Error> {
        let ClipMaker::Packaged(format) = self.maker else { return Ok(()) };
        let end = range.end.unwrap_or(now);
        if end > now {
            return Err(Invalid::new("end", format!("is in the future: it is {now} now")).into());
        }
        if format == Format::Plain && end > range.start.plus(LONGEST_PLAIN) {
            let problem =
                "must be at most 2 hours after start with format=plain; leave format out for up to 24 hours";
            return Err(Invalid::new("end", problem).into());
        }
        Ok(())
    }
}

//! What a link shows: a clip or a picture at its plain address, with the query that was judged when the link
//! was made.

use super::compact::{FieldReader, FieldWriter};
use super::error::Error;

/// A file at a plain address of one stream, for clients that take nothing but a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Which file.
    pub file: LinkFile,
    /// The query of the plain address, as it is written in a URL. The link adds nothing to it and takes
    /// nothing from it.
    pub query: String,
}

/// The files that links lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkFile {
    /// `clip.mp4`.
    Mp4Clip,
    /// `clip.mkv`.
    MatroskaClip,
    /// `snapshot.jpg`.
    Snapshot,
    /// `snapshot.png`.
    PngSnapshot,
}

impl LinkFile {
    /// All of them; the position is how a capability writes it.
    pub const ALL: [Self; 4] = [Self::Mp4Clip, Self::MatroskaClip, Self::Snapshot, Self::PngSnapshot];

    /// Its name at the end of a path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mp4Clip => "clip.mp4",
            Self::MatroskaClip => "clip.mkv",
            Self::Snapshot => "snapshot.jpg",
            Self::PngSnapshot => "snapshot.png",
        }
    }

    /// What paths of links to it begin with.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Mp4Clip | Self::MatroskaClip => "/clip/v1/",
            Self::Snapshot | Self::PngSnapshot => "/image/v1/",
        }
    }
}

impl Link {
    pub(super) fn write(&self, to: &mut FieldWriter) {
        to.byte(match self.file {
            LinkFile::Mp4Clip => 0,
            LinkFile::MatroskaClip => 1,
            LinkFile::Snapshot => 2,
            LinkFile::PngSnapshot => 3,
        });
        to.text(&self.query);
    }

    pub(super) fn read(from: &mut FieldReader<'_>) -> Result<Self, Error> {
        let file = from.byte()?;
        let Some(file) = LinkFile::ALL.get(usize::from(file)) else { return FieldReader::broken() };
        Ok(Self { file: *file, query: from.text()? })
    }
}

//! One request of a player, and the answers of all resources but playlists and manifests.

use crate::answer::{Answer, KvsError};
use crate::archive::Fragment;
use crate::clock::Millis;
use crate::media::{FRAGMENT_MILLIS, Recording, Track, fmp4, ts};
use crate::number::FragmentNumber;
use crate::session::{Listing, Protocol, Session};
use crate::stream::Stream;

/// The query of a playback resource, decoded.
pub(super) type Query = [(String, String)];

/// A request of a player, with everything that answering it takes.
pub(super) struct PlayerRequest<'a> {
    pub(super) session: &'a Session,
    pub(super) stream: &'a Stream,
    pub(super) query: &'a Query,
    pub(super) now: Millis,
    pub(super) sequence_numbers: bool,
}

impl PlayerRequest<'_> {
    pub(super) fn listing(&self) -> Result<Listing, KvsError> {
        self.session.listing(self.stream, self.now).map_err(|_| no_fragments())
    }

    /// `TrackNumber`, which the stream must have.
    pub(super) fn track(&self) -> Result<Track, KvsError> {
        match value(self.query, "TrackNumber") {
            Some("1") => Ok(Track::Video),
            Some("2") if self.stream.producer.has_audio() => Ok(Track::Audio),
            _ => Err(KvsError::invalid("TrackNumber must be the number of a track.")),
        }
    }

    /// The requested fragment and its position in the session.
    pub(super) fn fragment(&self) -> Result<(usize, Fragment), KvsError> {
        let text = value(self.query, "FragmentNumber")
            .ok_or_else(|| KvsError::invalid("FragmentNumber must be specified."))?;
        let fragments = self.session.fragments(self.stream, self.now);
        let place = match self.session.parameters.protocol {
            // DASH numbers the fragments of the session from 1.
            Protocol::Dash => text.parse().ok().and_then(|number: usize| number.checked_sub(1)),
            Protocol::Hls => FragmentNumber::parse(text)
                .and_then(|number| fragments.iter().position(|f| f.number == number)),
        };
        // Retention may remove a fragment before its session expires.
        let kept = |f: &&Fragment| self.stream.archive.find(f.number, self.now).is_some();
        place
            .and_then(|place| Some((place, *fragments.get(place).filter(kept)?)))
            .ok_or_else(|| KvsError::not_found("The requested fragment is not found."))
    }

    /// The init fragment of a track in the requested codec epoch of the session.
    pub(super) fn init(&self) -> Result<Answer, KvsError> {
        let track = self.track()?;
        let epoch: u32 = match value(self.query, "SequenceNumber") {
            None => 0,
            Some(text) => text.parse().map_err(|_| KvsError::invalid("SequenceNumber must be a number."))?,
        };
        let first = self.session.first;
        let changes = self.stream.archive.codec_changes.len() as u32;
        let known = changes.saturating_sub(first.codec);
        if epoch > known {
            return Err(KvsError::invalid("There is no such SequenceNumber."));
        }
        let recording = Recording::of(first.recording + epoch as usize);
        Ok(Answer::bytes("video/mp4", fmp4::init(recording, track)))
    }

    pub(super) fn media_fragment(&self) -> Result<Answer, KvsError> {
        let track = self.track()?;
        let (place, fragment) = self.fragment()?;
        let start = match self.session.parameters.protocol {
            Protocol::Hls => self.session.offset(&fragment),
            // The manifest closes gaps, so the times in the fragments do, too.
            Protocol::Dash => place as Millis * FRAGMENT_MILLIS,
        };
        let sequence = place as u32 + 1;
        let bytes = fmp4::fragment(fragment.recording(), track, fragment.index, sequence, start);
        Ok(Answer::bytes("video/mp4", bytes))
    }

    pub(super) fn transport_stream(&self) -> Result<Answer, KvsError> {
        if !self.session.parameters.transport_stream {
            return Err(KvsError::invalid("The session is not one of MPEG_TS."));
        }
        let (_, fragment) = self.fragment()?;
        let start = self.session.offset(&fragment);
        Ok(Answer::bytes(
            "video/MP2T",
            ts::fragment(fragment.recording(), self.stream.producer, fragment.index, start),
        ))
    }

    /// Which codec epoch of the session a fragment belongs to.
    pub(super) fn epoch(&self, fragment: &Fragment) -> u32 {
        fragment.codec.saturating_sub(self.session.first.codec)
    }

    /// Bits per second of these tracks, estimated from the first fragments.
    pub(super) fn bandwidth(&self, listing: &Listing, tracks: &[Track]) -> u64 {
        let sample = &listing.fragments[..listing.fragments.len().min(3)];
        let bytes: usize = sample.iter().map(|f| f.recording().size(f.index, tracks)).sum();
        bytes as u64 * 8000 / (FRAGMENT_MILLIS * sample.len() as u64)
    }
}

pub(super) fn no_fragments() -> KvsError {
    KvsError::not_found("No fragments found in the stream for the streaming request.")
}

/// The first value of this name.
pub(super) fn value<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

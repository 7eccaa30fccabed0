//! One request of a player, and the answers of all resources but playlists and manifests.

use crate::answer::{Answer, KvsError};
use crate::archive::Fragment;
use crate::clock::Millis;
use crate::media::{SoundCodec, Track, fmp4};
use crate::members::TimeRange;
use crate::number::FragmentNumber;
use crate::session::{Listing, Protocol, Session, closed_length};
use crate::stream::Stream;

/// The query of a playback resource, decoded.
pub(super) type Query = [(String, String)];

/// A request of a player, with everything that answering it takes.
pub(super) struct PlayerRequest<'a> {
    pub(super) session: &'a Session,
    pub(super) stream: &'a Stream,
    pub(super) query: &'a Query,
    pub(super) now: Millis,
    /// A fault: fragments whose server timestamps lie in these ranges do not exist.
    pub(super) missing: &'a [TimeRange],
    pub(super) sequence_numbers: bool,
}

impl PlayerRequest<'_> {
    pub(super) fn listing(&self) -> Result<Listing, KvsError> {
        let listing = self.session.listing(self.stream, self.now).map_err(|_| no_fragments())?;
        // Settings may change in a session, tracks and codecs may not (docs/KVS.md 4.6).
        let tracks = |f: &Fragment| (f.video, f.sound);
        if listing.fragments.iter().any(|f| tracks(f) != tracks(&self.session.first)) {
            return Err(changed("The tracks must not change in a session."));
        }
        Ok(listing)
    }

    /// The fragments of a listing that have frames on a track, and how many of them precede the first listed
    /// one.
    pub(super) fn on_track(&self, track: Track, listing: &Listing) -> (usize, Vec<Fragment>) {
        let is_muxed = self.session.parameters.transport_stream;
        let has = |f: &&Fragment| is_muxed || track == Track::Video || !self.stream.archive.lacks_sound(f);
        if !self.stream.archive.producer.sound_missing {
            return (listing.skipped, listing.fragments.clone());
        }
        let before = self.session.fragments(self.stream, self.now);
        let skipped = before.iter().take(listing.skipped).filter(has).count();
        (skipped, listing.fragments.iter().filter(has).copied().collect())
    }

    /// Whether the session has a track of sound.
    pub(super) fn has_audio(&self) -> bool {
        self.session.first.sound != SoundCodec::None
    }

    /// `TrackNumber`, which the stream must have.
    pub(super) fn track(&self) -> Result<Track, KvsError> {
        match value(self.query, "TrackNumber") {
            Some("1") => Ok(Track::Video),
            Some("2") if self.has_audio() => Ok(Track::Audio),
            _ => Err(KvsError::invalid("TrackNumber must be the number of a track.")),
        }
    }

    /// The requested fragment.
    fn fragment(&self) -> Result<Requested, KvsError> {
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
        let missing = |f: &Fragment| self.missing.iter().any(|(from, to)| (*from..=*to).contains(&f.server));
        let kept = |f: &&Fragment| !missing(f) && self.stream.archive.find(f.number, self.now).is_some();
        place
            .and_then(|place| {
                let fragment = *fragments.get(place).filter(kept)?;
                Some(Requested { place, before: closed_length(&fragments[..place]), fragment })
            })
            .ok_or_else(|| KvsError::not_found("The requested fragment is not found."))
    }

    /// The init fragment of a track in the requested codec epoch of the session.
    pub(super) fn init(&self) -> Result<Answer, KvsError> {
        let track = self.track()?;
        let epoch: u32 = match value(self.query, "SequenceNumber") {
            None => 0,
            Some(text) => text.parse().map_err(|_| KvsError::invalid("SequenceNumber must be a number."))?,
        };
        let fragments = self.session.fragments(self.stream, self.now);
        let of_epoch = if epoch == 0 {
            Some(&self.session.first)
        } else {
            fragments.iter().find(|f| self.epoch(f) == epoch)
        };
        let fragment = of_epoch.ok_or_else(|| KvsError::invalid("There is no such SequenceNumber."))?;
        let footage = self.stream.archive.footage(fragment);
        Ok(Answer::bytes("video/mp4", fmp4::init(&footage, track)))
    }

    pub(super) fn media_fragment(&self) -> Result<Answer, KvsError> {
        let track = self.track()?;
        let Requested { place, before, fragment } = self.fragment()?;
        let start = match self.session.parameters.protocol {
            Protocol::Hls => self.session.offset(&fragment),
            // The manifest closes gaps, so the times in the fragments do, too.
            Protocol::Dash => before,
        };
        let footage = self.stream.archive.footage(&fragment);
        let bytes = fmp4::fragment(&footage, track, place as u32 + 1, start);
        Ok(Answer::bytes("video/mp4", bytes))
    }

    pub(super) fn transport_stream(&self) -> Result<Answer, KvsError> {
        if !self.session.parameters.transport_stream {
            return Err(KvsError::invalid("The session is not one of MPEG_TS."));
        }
        let Requested { fragment, .. } = self.fragment()?;
        let start = self.session.offset(&fragment);
        Ok(Answer::bytes("video/MP2T", self.stream.archive.transport_stream(&fragment, start)))
    }

    /// Which codec epoch of the session a fragment belongs to.
    pub(super) fn epoch(&self, fragment: &Fragment) -> u32 {
        fragment.codec.saturating_sub(self.session.first.codec)
    }

    /// Bits per second of these tracks, estimated from the first fragments.
    pub(super) fn bandwidth(&self, listing: &Listing, tracks: &[Track]) -> u64 {
        let sample = &listing.fragments[..listing.fragments.len().min(3)];
        let bytes: usize = sample.iter().map(|f| self.stream.archive.footage(f).size(tracks)).sum();
        bytes as u64 * 8000 / closed_length(sample).max(1)
    }
}

/// A fragment of the session that a player requests.
struct Requested {
    /// Its position in the session.
    place: usize,
    /// How long the fragments before it last.
    before: Millis,
    fragment: Fragment,
}

/// The error for settings or tracks that change where they must not.
pub(super) fn changed(message: &str) -> KvsError {
    KvsError::new(400, "InvalidCodecPrivateDataException", message)
}

pub(super) fn no_fragments() -> KvsError {
    KvsError::not_found("No fragments found in the stream for the streaming request.")
}

/// The first value of this name.
pub(super) fn value<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

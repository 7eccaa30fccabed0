//! The playback resources: unsigned GETs whose session token is the credential (KVS.md 5).

mod dash;
mod hls;

use super::answer::{Answer, Refusal};
use super::archive::Fragment;
use super::calls::charge_points;
use super::clock::Millis;
use super::media::{FRAGMENT_MILLIS, Recording, Track, fmp4, ts};
use super::number::Number;
use super::operation::Operation;
use super::session::{Listing, Protocol, Session, is_token};
use super::stream::Stream;
use super::world::World;
use std::sync::Arc;

/// The query of a playback resource, decoded.
type Query = [(String, String)];

/// The session that a query's token names, expired or not.
pub(super) fn session(world: &World, query: &Query) -> Result<Arc<Session>, Refusal> {
    let token =
        value(query, "SessionToken").ok_or_else(|| Refusal::invalid("SessionToken must be specified."))?;
    if !is_token(token) {
        return Err(Refusal::invalid("The session token is not valid."));
    }
    world.session(token).ok_or_else(|| not_authorized("The session token is not valid."))
}

/// What an expired session answers.
pub(super) fn expired() -> Refusal {
    not_authorized("Streaming session token is expired")
}

fn not_authorized(message: &str) -> Refusal {
    Refusal::new(403, "NotAuthorizedException", message)
}

/// A request of a player, with everything that answering it takes.
struct Play<'a> {
    session: &'a Session,
    stream: &'a Stream,
    query: &'a Query,
    now: Millis,
    sequence_numbers: bool,
}

/// Answers a player.
pub(super) fn answer(
    world: &World,
    operation: Operation,
    session: &Session,
    query: &Query,
    no_data: bool,
    now: Millis,
) -> Result<Answer, Refusal> {
    if session.expires <= now {
        return Err(expired());
    }
    use Operation::{
        GetDASHManifest, GetHLSMasterPlaylist, GetHLSMediaPlaylist, GetMP4InitFragment, GetMP4MediaFragment,
        GetTSFragment,
    };
    let (protocol, rate) = match operation {
        GetHLSMasterPlaylist | GetHLSMediaPlaylist => (Protocol::Hls, 5.0),
        GetDASHManifest => (Protocol::Dash, 5.0),
        GetMP4InitFragment(protocol) => (protocol, 5.0),
        GetMP4MediaFragment(protocol) => (protocol, 20.0),
        _ => (Protocol::Hls, 20.0),
    };
    if protocol != session.parameters.protocol {
        return Err(not_authorized("The session token is for another protocol."));
    }
    if !world.take(&format!("{}/{}", session.token, operation.name()), rate, 1.0) {
        return Err(Refusal::limit(format!("Rate exceeded for {} in this session.", operation.name())));
    }
    let stream = world.stream(&session.tenant, &session.stream)?;
    if no_data {
        return Err(no_fragments());
    }
    let sequence_numbers = world.config.init_sequence_number;
    let play = Play { session, stream: &stream, query, now, sequence_numbers };
    let points = session.parameters.max_results;
    match operation {
        GetHLSMasterPlaylist => hls::master(&play),
        GetHLSMediaPlaylist => {
            charge_points(world, &stream, points, 0)?;
            hls::media(&play)
        }
        GetDASHManifest => {
            charge_points(world, &stream, points, 0)?;
            dash::manifest(&play)
        }
        GetMP4InitFragment(_) => play.init(),
        GetMP4MediaFragment(_) => {
            charge_points(world, &stream, 0, 1)?;
            play.media_fragment()
        }
        GetTSFragment => {
            charge_points(world, &stream, 0, 1)?;
            play.transport_stream()
        }
        _ => Ok(Answer::unknown_operation()),
    }
}

impl Play<'_> {
    fn listing(&self) -> Result<Listing, Refusal> {
        self.session.listing(self.stream, self.now).map_err(|_| no_fragments())
    }

    /// `TrackNumber`, which the stream must have.
    fn track(&self) -> Result<Track, Refusal> {
        match value(self.query, "TrackNumber") {
            Some("1") => Ok(Track::Video),
            Some("2") if self.stream.audio => Ok(Track::Audio),
            _ => Err(Refusal::invalid("TrackNumber must be the number of a track.")),
        }
    }

    /// The fragment asked for and its place in the session.
    fn fragment(&self) -> Result<(usize, Fragment), Refusal> {
        let text = value(self.query, "FragmentNumber")
            .ok_or_else(|| Refusal::invalid("FragmentNumber must be specified."))?;
        let fragments = self.session.fragments(self.stream, self.now);
        let place = match self.session.parameters.protocol {
            // DASH numbers the fragments of the session from 1.
            Protocol::Dash => text.parse().ok().and_then(|number: usize| number.checked_sub(1)),
            Protocol::Hls => {
                Number::parse(text).and_then(|number| fragments.iter().position(|f| f.number == number))
            }
        };
        // A session may outlive what it lists: retention goes on.
        let kept = |f: &&Fragment| self.stream.archive.find(f.number, self.now).is_some();
        place
            .and_then(|place| Some((place, *fragments.get(place).filter(kept)?)))
            .ok_or_else(|| Refusal::not_found("The requested fragment is not found."))
    }

    /// The init fragment of a track, as it was in the asked-for codec epoch of the session.
    fn init(&self) -> Result<Answer, Refusal> {
        let track = self.track()?;
        let epoch: u32 = match value(self.query, "SequenceNumber") {
            None => 0,
            Some(text) => text.parse().map_err(|_| Refusal::invalid("SequenceNumber must be a number."))?,
        };
        let first = self.session.first;
        let changes = self.stream.archive.codec_changes.len() as u32;
        let known = changes.saturating_sub(first.codec);
        if epoch > known {
            return Err(Refusal::invalid("There is no such SequenceNumber."));
        }
        let recording = Recording::of(first.recording + epoch as usize);
        Ok(Answer::bytes("video/mp4", fmp4::init(recording, track)))
    }

    fn media_fragment(&self) -> Result<Answer, Refusal> {
        let track = self.track()?;
        let (place, fragment) = self.fragment()?;
        let start = match self.session.parameters.protocol {
            Protocol::Hls => self.session.offset(&fragment),
            // The manifest closes gaps, and so do the times in the fragments.
            Protocol::Dash => place as Millis * FRAGMENT_MILLIS,
        };
        let sequence = place as u32 + 1;
        let bytes = fmp4::fragment(fragment.recording(), track, fragment.index, sequence, start);
        Ok(Answer::bytes("video/mp4", bytes))
    }

    fn transport_stream(&self) -> Result<Answer, Refusal> {
        if !self.session.parameters.transport_stream {
            return Err(Refusal::invalid("The session is not one of MPEG_TS."));
        }
        let (_, fragment) = self.fragment()?;
        let start = self.session.offset(&fragment);
        Ok(Answer::bytes(
            "video/MP2T",
            ts::fragment(fragment.recording(), self.stream.audio, fragment.index, start),
        ))
    }

    /// Which codec epoch of the session a fragment belongs to.
    fn epoch(&self, fragment: &Fragment) -> u32 {
        fragment.codec.saturating_sub(self.session.first.codec)
    }

    /// Bits per second of what a player downloads, estimated from the first few fragments.
    fn bandwidth(&self, listing: &Listing, video: bool, audio: bool) -> u64 {
        let sample = &listing.fragments[..listing.fragments.len().min(3)];
        let bytes: usize = sample
            .iter()
            .map(|f| {
                let recording = f.recording();
                let all = recording.size(f.index, audio);
                if video { all } else { all - recording.size(f.index, false) }
            })
            .sum();
        bytes as u64 * 8000 / (FRAGMENT_MILLIS * sample.len() as u64)
    }
}

fn no_fragments() -> Refusal {
    Refusal::not_found("No fragments found in the stream for the streaming request.")
}

/// The first value of this name.
fn value<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

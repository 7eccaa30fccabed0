//! Init segments, and the segment that one fragment and kind of media becomes.

use super::Presentation;
use super::group::Group;
use crate::base::hex;
use crate::kvs::{MediaKind, SegmentAddress};
use crate::package::mp4::fragment;
use crate::package::mp4::init::{self, InitOptions};
use crate::package::mp4::track::G711;
use crate::package::output::Output;
use crate::package::timing::{TrackPlan, TrackRun, frames_of};
use crate::package::{Document, Fragment, Refusal, TrackKind, TrackSettings, mkv};
use aws_lc_rs::digest;
use bytes::Bytes;

/// Part of every entity tag: changes whenever the bytes made of the same footage do.
const VERSION: &str = "1";
/// Each segment has one track.
const TRACK_ID: u32 = 1;

/// A segment, or an init segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its bytes, shared with the fragment.
    pub bytes: Vec<Bytes>,
    /// A strong entity tag, quotation marks included.
    pub etag: String,
}

impl Presentation {
    /// The init segment at an address: of the group whose first fragment is presented then.
    #[must_use]
    pub fn init(&self, address: SegmentAddress) -> Option<Segment> {
        let index = self.index(address.time)?;
        let group = self.groups.iter().find(|group| group.first == index)?;
        let bytes = init_segment(group.track(address.kind)?);
        let etag = entity_tag(&["init"], &bytes);
        Some(Segment { bytes: vec![bytes.into()], etag })
    }

    /// Whether a fragment's group has media of a kind.
    #[must_use]
    pub fn has(&self, index: usize, kind: MediaKind) -> bool {
        self.group_of(index).track(kind).is_some()
    }

    /// The entity tag of the segment that a fragment becomes. It needs none of the fragment's bytes.
    #[must_use]
    pub fn segment_tag(&self, index: usize, kind: MediaKind) -> Option<String> {
        let settings = self.group_of(index).track(kind)?;
        let (time, number) = (self.time(index).to_string(), &self.rows[index].number);
        Some(entity_tag(&[kind.letter(), &time, number.as_str()], &init_segment(settings)))
    }

    /// The segment that a fragment becomes. A fragment without such media becomes a segment without frames.
    ///
    /// # Errors
    /// The fragment cannot be packaged, or not with the init segment of its group.
    pub fn segment(&self, index: usize, kind: MediaKind, document: &Document) -> Result<Vec<Bytes>, Refusal> {
        let group = self.group_of(index);
        let settings = group.track(kind).ok_or(Refusal::Unsupported("there is no such media"))?;
        let fragment = mkv::read(document)?;
        check_tracks(&fragment, group)?;
        let run = match track_of(&fragment, kind) {
            Some(track) => {
                let plan = TrackPlan { index: track, id: TRACK_ID, settings, g711: G711::AsFlac };
                TrackRun::of(document, &fragment, plan, self.time(index))?
            }
            None => None,
        };
        let run = run.unwrap_or_else(|| TrackRun::empty(TRACK_ID, settings, self.time(index)));
        let mut output = Output::default();
        let runs = [run];
        // Numbers rise with time, but for once in seven weeks; players do not compare them.
        output.copy(&fragment::head(&runs, self.time(index) as u32));
        runs.into_iter().for_each(|run| run.write(document, &mut output));
        Ok(output.finish())
    }
}

fn init_segment(settings: &TrackSettings) -> Vec<u8> {
    let options = InitOptions { g711: G711::AsFlac, duration: None, hidden: 0 };
    init::init(&[settings], options).into_bytes()
}

/// The track of a kind that has frames.
fn track_of(fragment: &Fragment, kind: MediaKind) -> Option<usize> {
    let kind = match kind {
        MediaKind::Video => TrackKind::Video,
        MediaKind::Audio => TrackKind::Audio,
    };
    let has_frames = |index: usize| frames_of(fragment, index).next().is_some();
    (0..fragment.tracks.len()).find(|index| fragment.tracks[*index].kind == kind && has_frames(*index))
}

/// Sound or pictures that the group does not have cannot be played: nothing is left out silently.
fn check_tracks(fragment: &Fragment, group: &Group) -> Result<(), Refusal> {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        if group.track(kind).is_none() && track_of(fragment, kind).is_some() {
            return Err(Refusal::Unsupported("sound or pictures begin inside the range"));
        }
    }
    Ok(())
}

fn entity_tag(parts: &[&str], content: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [VERSION].iter().chain(parts) {
        context.update(part.as_bytes());
        context.update(b" ");
    }
    context.update(content);
    format!("\"{}\"", hex::encode(&context.finish().as_ref()[..16]))
}

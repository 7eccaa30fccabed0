//! What players of live DASH must not notice: that upstream sessions end and begin anew, and that kvs-edge does.
//!
//! DASH numbers and times are positions in a session (`KVS.md` trap 24), so nothing in a manifest of KVS means
//! anything in the next session. Published, a fragment is called by its time (`$Time$`), counted from 1970 on one
//! timeline that runs by KVS's own clock: the server time inside its number, which is the same in every session. So
//! a renewed session goes on in the same `Period`, and so does a restarted or second kvs-edge that knows nothing of
//! the other. dash.js 5 needs that: it stays for good in a period that is no longer listed. The media is made to fit:
//! its times are moved by as much as the manifest's (`playback::mp4`).
//!
//! Fragments of a session follow each other as KVS's manifest says, unless the clock says that more than a fragment
//! is missing: KVS closes gaps, players go by the clock. A new `Period` begins where the tracks change or their codec
//! settings do, and is named by those. What an older session already listed, a newer does not list again, but may
//! stand in for it. `publishTime` changes when the rest does, and never goes back.
//!
//! Pure: manifests in, manifests out. How they look is `render`'s.

use super::manifest::{Manifest, Segment};
use super::offered::{Offer, told};
use super::saved::SavedTimeline;
use super::xml::Element;
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use crate::playback::mp4;
use crate::sessions::numbering::Generation;
use std::collections::VecDeque;
use std::time::Duration;

/// One stream as its players see it.
pub(in crate::sessions) struct Timeline {
    /// Fragments listed at most.
    pub(super) window: usize,
    /// `kvs:ts` and `kvs:fn` are shown.
    pub(super) shown: (bool, bool),
    /// LIVE: the clock is the server's. A replay's is its session's.
    pub(super) live: bool,
    pub(super) periods: VecDeque<Period>,
    /// The newest `window` are listed, the others are remembered for requests still under way.
    pub(super) fragments: VecDeque<Fragment>,
    pub(super) inits: VecDeque<Init>,
    pub(super) begun: u64,
    pub(super) last: Option<(String, Timestamp)>,
    /// What an earlier process was at.
    pub(super) resumed: Option<SavedTimeline>,
}

/// A period, as published.
pub(super) struct Period {
    /// In the order in which they began.
    pub(super) place: u64,
    /// Which tracks, with which codec settings.
    pub(super) id: String,
    /// Milliseconds since 1970; 0 for the first, which is the same one in every process.
    pub(super) start: u64,
    /// As KVS wrote it, without segments.
    pub(super) element: Element,
    pub(super) tracks: Vec<PublishedTrack>,
}

pub(super) struct PublishedTrack {
    pub(super) track: u8,
    /// Ticks per second in the manifest.
    pub(super) timescale: u64,
    pub(super) init: Resource,
}

/// A fragment, on all tracks of its period.
pub(super) struct Fragment {
    pub(super) period: u64,
    pub(super) number: Option<FragmentNumber>,
    pub(super) told: Option<Timestamp>,
    /// Milliseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Times counted from 1970. `None` where a track has nothing.
    pub(super) tracks: Vec<Option<Segment>>,
    /// Where it can be fetched, oldest session first.
    pub(super) homes: Vec<Home>,
}

/// What a session calls a fragment.
pub(super) struct Home {
    pub(super) generation: Generation,
    /// Which of that session's periods.
    pub(super) place: usize,
    pub(super) number: u64,
    /// Published time less time there, milliseconds, by track.
    pub(super) moved: Vec<u64>,
}

/// An init segment of a session.
pub(super) struct Init {
    published: Resource,
    pub(super) generation: Generation,
    pub(super) upstream: Resource,
    pub(super) track: mp4::Init,
}

/// Where a published fragment can be fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sessions) struct FragmentAt {
    pub generation: Generation,
    /// Its number there.
    pub number: FragmentNumber,
    /// Ticks of the media by which its times must be moved.
    pub ticks: u64,
}

/// A published manifest.
pub(in crate::sessions) struct Published {
    pub text: String,
    /// The longest fragment.
    pub target: Duration,
    pub ended: bool,
}

/// Fragments remembered beyond those listed.
const REMEMBERED: usize = 256;
/// Init segments of past sessions that a player may still ask for.
const INITS: usize = 64;
/// A year, in milliseconds: no camera is waited for longer, and sums stay in range.
const LONGEST_GAP: u64 = 366 * 86_400_000;

impl Timeline {
    pub(in crate::sessions) fn new(window: usize, shown: (bool, bool), live: bool) -> Self {
        Self {
            window: window.max(1),
            shown,
            live,
            periods: VecDeque::new(),
            fragments: VecDeque::new(),
            inits: VecDeque::new(),
            begun: 0,
            last: None,
            resumed: None,
        }
    }

    /// True until something has been merged.
    pub(in crate::sessions) fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The init segments of a manifest that [`Timeline::learn`] was told nothing of yet.
    pub(in crate::sessions) fn unknown_inits(
        &self,
        generation: Generation,
        text: &str,
    ) -> Result<Vec<Resource>, &'static str> {
        let manifest = Manifest::parse(text)?;
        let templates = manifest.periods.iter().flat_map(|period| &period.templates);
        let inits = templates.map(|template| &template.init);
        Ok(inits.filter(|init| self.track(generation, init).is_none()).cloned().collect())
    }

    /// What stands in an init segment of a session.
    pub(in crate::sessions) fn learn(
        &mut self,
        generation: Generation,
        upstream: &Resource,
        track: mp4::Init,
    ) {
        let Resource::InitSegment { protocol, track: number, .. } = *upstream else { return };
        // Equal settings, equal address: in every session and every process.
        let sequence = u32::try_from(track.mark % 1_000_000_000).ok();
        let published = Resource::InitSegment { protocol, track: number, sequence };
        self.inits.push_back(Init { published, generation, upstream: upstream.clone(), track });
        if self.inits.len() > INITS {
            self.inits.pop_front();
        }
    }

    /// Merges what `generation` lists and gives what players shall see.
    pub(in crate::sessions) fn merge(
        &mut self,
        generation: Generation,
        text: &str,
        now: Timestamp,
    ) -> Result<Published, &'static str> {
        let Manifest { declaration, root, available, ended, periods } = Manifest::parse(text)?;
        for (place, offered) in periods.iter().enumerate() {
            let leading = &offered.templates[0];
            let window = leading.segments.len().saturating_sub(self.window);
            for segment in &leading.segments[window..] {
                let offer = Offer { generation, place, available, period: offered, segment };
                match self.listed(&offer) {
                    Some(at) => self.again(at, &offer),
                    None if self.is_new(&offer) => self.add(&offer)?,
                    None => {}
                }
            }
        }
        while self.fragments.len() > self.window + REMEMBERED {
            self.fragments.pop_front();
        }
        if let Some(oldest) = self.fragments.front().map(|fragment| fragment.period) {
            self.periods.retain(|period| period.place >= oldest);
        }
        let longest = self.shown().map(|fragment| fragment.end.saturating_sub(fragment.start)).max();
        let target = Duration::from_millis(longest.unwrap_or(2000));
        let text = self.render(&declaration, root, ended, now)?;
        Ok(Published { text, target, ended })
    }

    /// Where a published fragment can be fetched, oldest session first.
    pub(in crate::sessions) fn locate(&self, number: &FragmentNumber, track: u8) -> Vec<FragmentAt> {
        let Ok(time) = number.as_str().parse::<u64>() else { return Vec::new() };
        let of_track = |fragment: &Fragment| {
            let period = self.periods.iter().find(|period| period.place == fragment.period);
            period.and_then(|period| period.tracks.iter().position(|known| known.track == track))
        };
        // Of another process, times may differ by what clocks differ.
        let near = |fragment: &&Fragment| {
            let at = of_track(fragment)?;
            let segment = fragment.tracks.get(at)?.as_ref()?;
            let off = segment.time.abs_diff(time);
            (off <= segment.duration / 2).then_some((off, at))
        };
        let nearest = self.fragments.iter().rev().filter_map(|fragment| Some((near(&fragment)?, fragment)));
        let Some(((_, at), fragment)) = nearest.min_by_key(|((off, _), _)| *off) else { return Vec::new() };
        let homes = fragment.homes.iter().filter_map(|home| {
            let timescale = self.timescale(home.generation, track)?;
            let ticks = u128::from(*home.moved.get(at)?) * u128::from(timescale) / 1000;
            Some(FragmentAt {
                generation: home.generation,
                number: FragmentNumber::parse(&home.number.to_string()).ok()?,
                ticks: u64::try_from(ticks).ok()?,
            })
        });
        homes.collect()
    }

    /// The init segment behind a published address, in the newest session that has it.
    pub(in crate::sessions) fn init(&self, published: &Resource) -> Option<(Generation, Resource)> {
        let init = self.inits.iter().rev().find(|init| init.published == *published)?;
        Some((init.generation, init.upstream.clone()))
    }

    /// The init segment last published for a track.
    pub(in crate::sessions) fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        let of_track =
            |init: &&Init| matches!(init.upstream, Resource::InitSegment { track: t, .. } if t == track);
        self.inits.iter().rev().find(of_track).map(|init| (init.generation, init.upstream.clone()))
    }

    /// The fragments that players see, by track, oldest first, as published.
    pub(in crate::sessions) fn fragments(&self) -> Vec<Vec<Resource>> {
        let Some(newest) = self.periods.back() else { return Vec::new() };
        let listed = |at: usize| {
            self.shown()
                .filter(|fragment| fragment.period == newest.place)
                .filter_map(move |fragment| fragment.tracks[at].as_ref())
        };
        let tracks = newest.tracks.iter().enumerate().map(|(at, track)| {
            let numbers = listed(at).filter_map(|s| FragmentNumber::parse(&s.time.to_string()).ok());
            let track = track.track;
            numbers.map(|number| Resource::Mp4Fragment { protocol: Protocol::Dash, number, track }).collect()
        });
        tracks.collect()
    }

    /// The start of the newest fragment listed, as `kvs:ts` tells it: where a replay has come to.
    pub(in crate::sessions) fn reached(&self) -> Option<Timestamp> {
        self.fragments.back()?.told
    }

    /// The fragments that are listed, oldest first. What a camera recorded before it was away is listed no more:
    /// Shaka Player takes the last fragment ahead of a hole for as long as the hole, and its live edge falls back by
    /// so much for good.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Fragment> {
        let from = self.fragments.len().saturating_sub(self.window);
        let listed = self.fragments.range(from..).zip(self.fragments.range(from..).skip(1));
        let hole = |(before, after): (&Fragment, &Fragment)| after.start > before.end + before.length() / 2;
        let after = listed.enumerate().rfind(|(_, pair)| self.live && hole(*pair));
        self.fragments.iter().skip(after.map_or(from, |(at, _)| from + at + 1))
    }

    /// How far back players may go, in milliseconds: as long as a full list is; while it is shorter, after a camera was
    /// away, into the middle of the oldest fragment. dash.js goes there when it has fallen behind, as it has then, and
    /// stays for good where nothing is, or where a fragment just begins.
    pub(super) fn depth(&self) -> u64 {
        let from = self.fragments.len().saturating_sub(self.window);
        let full = self.fragments.range(from..);
        let (Some(oldest), Some(newest)) = (self.shown().next(), self.shown().last()) else { return 0 };
        if self.shown().count() < full.len() {
            return newest.end.saturating_sub(oldest.start + oldest.length() / 2);
        }
        full.map(Fragment::length).sum()
    }

    fn track(&self, generation: Generation, upstream: &Resource) -> Option<&Init> {
        self.inits.iter().find(|init| init.generation == generation && init.upstream == *upstream)
    }

    fn timescale(&self, generation: Generation, track: u8) -> Option<u32> {
        let of_track =
            |init: &&Init| matches!(init.upstream, Resource::InitSegment { track: t, .. } if t == track);
        let mut inits = self.inits.iter().rev().filter(of_track);
        inits.find(|init| init.generation == generation).map(|init| init.track.timescale)
    }

    /// A fragment that is known already: listed by this session before, or by another.
    fn listed(&self, offer: &Offer<'_>) -> Option<usize> {
        let here = |home: &Home| {
            home.generation == offer.generation
                && home.place == offer.place
                && home.number == offer.segment.number
        };
        self.fragments.iter().rposition(|fragment| {
            fragment.homes.iter().any(here)
                || (fragment.number.is_some() && fragment.number == offer.segment.fragment)
        })
    }

    /// A known fragment is listed again: its length may have become known, and another session may have it too.
    fn again(&mut self, at: usize, offer: &Offer<'_>) {
        let fragment = &mut self.fragments[at];
        let segments = offer.segments();
        let home = Home {
            generation: offer.generation,
            place: offer.place,
            number: offer.segment.number,
            moved: fragment
                .tracks
                .iter()
                .zip(segments.iter().zip(&offer.period.templates))
                .map(|(known, (there, template))| match (known, there) {
                    (Some(known), Some(there)) => template.millis(known.time.saturating_sub(there.time)),
                    _ => 0,
                })
                .collect(),
        };
        match fragment.homes.iter().position(|known| known.generation == home.generation) {
            None => fragment.homes.push(home),
            // The length is that of the session that listed it first.
            Some(0) => {
                for (known, there) in fragment.tracks.iter_mut().zip(segments) {
                    if let (Some(known), Some(there)) = (known, there) {
                        known.duration = there.duration;
                    }
                }
                fragment.end = fragment.start + offer.leading().millis(offer.segment.duration);
            }
            Some(_) => {}
        }
    }

    /// True if nothing listed is a later fragment: by its own number, else its time, else its place.
    fn is_new(&self, offer: &Offer<'_>) -> bool {
        let Some(last) = self.fragments.back() else { return true };
        match (&offer.segment.fragment, &last.number) {
            (Some(number), Some(last)) => number > last,
            _ => match (told(offer.segment), last.told) {
                (Some(time), Some(last)) => time > last,
                // Half a fragment of tolerance: the clocks of two sessions differ.
                _ => offer.wall() + last.length() / 2 >= last.end,
            },
        }
    }

    fn add(&mut self, offer: &Offer<'_>) -> Result<(), &'static str> {
        let start = self.start(offer);
        let period = self.period(offer, start)?;
        let moved: Vec<u64> = offer.period.templates.iter().map(|t| offer.moved(t, start)).collect();
        let mut tracks = offer.segments();
        for (track, (moved, template)) in tracks.iter_mut().zip(moved.iter().zip(&offer.period.templates)) {
            if let Some(segment) = track {
                segment.time = segment.time.saturating_add(template.ticks(*moved));
            }
        }
        let (generation, place, number) = (offer.generation, offer.place, offer.segment.number);
        self.fragments.push_back(Fragment {
            period,
            number: offer.segment.fragment.clone(),
            told: told(offer.segment),
            start,
            end: start + offer.leading().millis(offer.segment.duration),
            tracks,
            homes: vec![Home { generation, place, number, moved }],
        });
        Ok(())
    }

    /// Where a new fragment begins, milliseconds since 1970.
    fn start(&self, offer: &Offer<'_>) -> u64 {
        let Some(last) = self.fragments.back() else {
            return self.resumed_start(offer).unwrap_or_else(|| offer.clock(self.live));
        };
        let length = last.length();
        // In one session KVS's manifest says where it follows.
        let here = |home: &&Home| home.generation == offer.generation && home.place == offer.place;
        let follows = last.homes.iter().find(here).map_or(last.end, |home| {
            let there = home.moved.first().copied().unwrap_or(0);
            offer.millis().saturating_add(there).max(last.start + 1)
        });
        // Between two fragments the times told say it best: what both clocks are off by cancels out.
        let meant = match (told(offer.segment), last.told) {
            (Some(time), Some(before)) => {
                last.start + time.millis().saturating_sub(before.millis()).min(LONGEST_GAP)
            }
            _ => offer.clock(self.live).min(last.end + LONGEST_GAP),
        };
        // Less than a fragment is not a gap but two clocks.
        if meant >= follows + length { meant } else { follows }
    }

    /// The period for a new fragment: the last one, unless the tracks have changed.
    fn period(&mut self, offer: &Offer<'_>, start: u64) -> Result<u64, &'static str> {
        let mut tracks = Vec::new();
        let mut mark = 0xcbf2_9ce4_8422_2325_u64;
        for template in &offer.period.templates {
            let init = self.track(offer.generation, &template.init).ok_or(NO_INIT)?;
            let Resource::InitSegment { track, .. } = init.published else { return Err(NO_INIT) };
            // FNV-1a: the same in every process.
            for byte in init.track.mark.to_be_bytes().into_iter().chain([track]) {
                mark = (mark ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            let (timescale, init) = (template.timescale, init.published.clone());
            tracks.push(PublishedTrack { track, timescale, init });
        }
        let id = format!("{mark:016x}");
        let same = |period: &&Period| {
            let timescales =
                |tracks: &[PublishedTrack]| tracks.iter().map(|t| t.timescale).collect::<Vec<_>>();
            period.id.starts_with(&id) && timescales(&period.tracks) == timescales(&tracks)
        };
        if let Some(last) = self.periods.back().filter(same) {
            return Ok(last.place);
        }
        // Settings that come back while they are still listed.
        let taken = self.periods.iter().any(|period| period.id.starts_with(&id));
        let id = if taken { format!("{id}-{start}") } else { id };
        let resumed = self.resumed.take_if(|kept| kept.period.0.starts_with(&id));
        let (id, start) = match resumed {
            Some(kept) if self.periods.is_empty() => kept.period,
            _ if self.periods.is_empty() => (id, 0),
            _ => (id, start),
        };
        self.begun += 1;
        let element = offer.period.element.clone();
        self.periods.push_back(Period { place: self.begun, id, start, element, tracks });
        Ok(self.begun)
    }
}

const NO_INIT: &str = "KVS's manifest names an init segment that is none";

impl Fragment {
    pub(super) fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

//! Merges the manifests of one upstream session after another into one that DASH players can follow.
//!
//! Players must not notice that upstream sessions end and begin anew, or that kvs-edge restarts. DASH numbers
//! and times are positions in a session (docs/KVS.md trap 24), so nothing in a manifest of KVS is valid in
//! the next session. A fragment is therefore published by its time (`$Time$`), counted from 1970 on one
//! timeline. The timeline runs by the clock of KVS: the server time inside the fragment number, which is the
//! same in every session. So a renewed session continues in the same `Period`, and so does a restarted or
//! second kvs-edge that knows nothing of the other. dash.js 5 needs that: it stays for good in a period that
//! is no longer listed. The times of the media are shifted by as much as those of the manifest
//! (`playback::mp4`).
//!
//! Fragments of a session follow each other as KVS's manifest says, unless the clock says that more than a
//! fragment is missing: KVS closes gaps, but players go by the clock. A new `Period` begins where the tracks
//! or their codec settings change, and is named by those. A newer session does not list again what an older
//! one listed, but players may be sent to it. `publishTime` changes when the rest does, and never goes back.
//!
//! There is no I/O here: manifests in, manifests out. `render` writes them.

use super::manifest::Manifest;
use super::offered::{Offer, kvs_time};
use super::published::{Fragment, FragmentSource, Period, PublishedTrack};
use super::saved::{SAVED, SavedTimeline};
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use crate::playback::mp4;
use crate::sessions::numbering::Generation;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// One stream as its players see it.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sessions) struct Timeline {
    /// Fragments listed at most.
    pub(super) window: usize,
    /// Whether `kvs:ts` and `kvs:fn` are shown.
    pub(super) shown: (bool, bool),
    /// LIVE: times follow the clock of the server. Those of a replay follow its session.
    pub(super) live: bool,
    pub(super) periods: VecDeque<Period>,
    /// The newest `window` are listed, and the others are remembered for requests under way.
    pub(super) fragments: VecDeque<Fragment>,
    pub(super) init_segments: VecDeque<KnownInit>,
    pub(super) begun: u64,
    pub(super) last: Option<(String, Timestamp)>,
    /// What an earlier process saved.
    pub(super) resumed: Option<SavedTimeline>,
}

/// An init segment of a session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KnownInit {
    published: Resource,
    pub(super) generation: Generation,
    pub(super) upstream: Resource,
    pub(super) content: mp4::Init,
}

/// Where a published fragment can be fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sessions) struct FragmentAt {
    pub generation: Generation,
    /// Its number there.
    pub number: FragmentNumber,
    /// Ticks to add to the times of its media.
    pub ticks: u64,
}

/// A published manifest.
pub(in crate::sessions) struct Published {
    pub text: String,
    /// The length of the longest fragment.
    pub target: Duration,
    pub ended: bool,
    /// When the fragments end that are not listed because they end too late.
    pub withheld: Vec<Timestamp>,
}

/// Fragments remembered beyond those listed.
const REMEMBERED: usize = 256;
/// Init segments remembered, for players that still hold an address.
const INIT_SEGMENTS: usize = 64;
/// How long after the end of its newest fragment a manifest counts as published where replicas publish apart
/// from each other, in milliseconds.
const PUBLISHED_AFTER: u64 = 2500;
/// A year, in milliseconds: a longer gap counts as a year, so that sums stay in range.
const LONGEST_GAP: u64 = 366 * 86_400_000;

impl Timeline {
    pub(in crate::sessions) fn new(window: usize, shown: (bool, bool), live: bool) -> Self {
        Self {
            window: window.max(1),
            shown,
            live,
            periods: VecDeque::new(),
            fragments: VecDeque::new(),
            init_segments: VecDeque::new(),
            begun: 0,
            last: None,
            resumed: None,
        }
    }

    /// What the next process needs to continue with the same period and times; `None` if nothing is listed.
    pub(in crate::sessions) fn saved(&self) -> Option<SavedTimeline> {
        let period = self.periods.back()?;
        let from = self.fragments.len().saturating_sub(SAVED);
        let newest = self.fragments.range(from..);
        let fragments = newest.filter_map(|f| Some((f.number.as_ref()?.to_string(), f.start))).collect();
        Some(SavedTimeline { period: (period.id.clone(), period.start), fragments })
    }

    /// Continues from what an earlier process saved.
    pub(in crate::sessions) fn resume(&mut self, saved: SavedTimeline) {
        if saved.is_plausible() {
            self.resumed = Some(saved);
        }
    }

    /// When a fragment began for an earlier process.
    fn saved_start(&self, offer: &Offer<'_>) -> Option<u64> {
        self.resumed.as_ref()?.start(offer.segment.fragment.as_ref()?.as_str())
    }

    /// True until something has been merged.
    pub(in crate::sessions) fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The init segments of a manifest that [`Timeline::learn`] has not been given yet.
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

    /// Notes what an init segment of a session holds.
    pub(in crate::sessions) fn learn(
        &mut self,
        generation: Generation,
        upstream: &Resource,
        content: mp4::Init,
    ) {
        let Resource::InitSegment { protocol, track: number, .. } = *upstream else { return };
        // Equal settings have equal addresses, in every session and every process.
        let sequence = u32::try_from(content.digest % 1_000_000_000).ok();
        let published = Resource::InitSegment { protocol, track: number, sequence };
        self.init_segments.push_back(KnownInit {
            published,
            generation,
            upstream: upstream.clone(),
            content,
        });
        if self.init_segments.len() > INIT_SEGMENTS {
            self.init_segments.pop_front();
        }
    }

    /// Merges what `generation` lists, and gives what players get. A fragment that ends later than `until` is
    /// not listed yet.
    pub(in crate::sessions) fn merge(
        &mut self,
        generation: Generation,
        text: &str,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Published, &'static str> {
        let Manifest { declaration, root, available, ended, periods } = Manifest::parse(text)?;
        let mut withheld = Vec::new();
        for (period_index, offered) in periods.iter().enumerate() {
            let leading = &offered.templates[0];
            let window = leading.segments.len().saturating_sub(self.window);
            for segment in &leading.segments[window..] {
                let offer = Offer { generation, period_index, available, period: offered, segment };
                match self.place_of(&offer) {
                    Some(at) => self.update(at, &offer),
                    None if until.is_some_and(|until| offer.clock_end(self.live) > until.millis()) => {
                        withheld.push(Timestamp::from_millis(offer.clock_end(self.live)));
                    }
                    None if self.is_new(&offer) => self.add(&offer)?,
                    None => {}
                }
            }
        }
        self.forget();
        let longest =
            self.listed_fragments().map(|fragment| fragment.end.saturating_sub(fragment.start)).max();
        let target = Duration::from_millis(longest.unwrap_or(2000));
        // What replicas publish apart from each other, they publish with the same time, which follows from
        // what is listed.
        let mut published = now;
        if until.is_some() {
            let newest = self.fragments.back().map_or(0, |newest| newest.end);
            published = Timestamp::from_millis(newest.saturating_add(PUBLISHED_AFTER));
            let (_, changed) = self.last.get_or_insert_with(|| (String::new(), published));
            *changed = published.max(*changed);
        }
        let text = self.render(&declaration, root, ended, published)?;
        Ok(Published { text, target, ended, withheld })
    }

    pub(super) fn forget(&mut self) {
        while self.fragments.len() > self.window + REMEMBERED {
            self.fragments.pop_front();
        }
        while self.init_segments.len() > INIT_SEGMENTS {
            self.init_segments.pop_front();
        }
        if let Some(oldest) = self.fragments.front().map(|fragment| fragment.period) {
            self.periods.retain(|period| period.order >= oldest);
        }
    }

    /// Where a published fragment can be fetched, oldest session first.
    pub(in crate::sessions) fn locate(&self, number: &FragmentNumber, track: u8) -> Vec<FragmentAt> {
        let Ok(time) = number.as_str().parse::<u64>() else { return Vec::new() };
        let of_track = |fragment: &Fragment| {
            let period = self.periods.iter().find(|period| period.order == fragment.period);
            period.and_then(|period| period.tracks.iter().position(|known| known.track == track))
        };
        // The times of another process may differ by as much as the clocks do.
        let near = |fragment: &&Fragment| {
            let at = of_track(fragment)?;
            let segment = fragment.tracks.get(at)?.as_ref()?;
            let off = segment.time.abs_diff(time);
            (off <= segment.duration / 2).then_some((off, at))
        };
        let nearest = self.fragments.iter().rev().filter_map(|fragment| Some((near(&fragment)?, fragment)));
        let Some(((_, at), fragment)) = nearest.min_by_key(|((off, _), _)| *off) else { return Vec::new() };
        let sources = fragment.sources.iter().filter_map(|source| {
            let timescale = self.timescale(source.generation, track)?;
            let ticks = u128::from(*source.shift.get(at)?) * u128::from(timescale) / 1000;
            Some(FragmentAt {
                generation: source.generation,
                number: FragmentNumber::parse(&source.number.to_string()).ok()?,
                ticks: u64::try_from(ticks).ok()?,
            })
        });
        sources.collect()
    }

    /// Where the published address of an init segment leads, in the newest session that has it.
    pub(in crate::sessions) fn init(&self, published: &Resource) -> Option<(Generation, Resource)> {
        let init = self.init_segments.iter().rev().find(|init| init.published == *published)?;
        Some((init.generation, init.upstream.clone()))
    }

    /// The init segment last published for a track.
    pub(in crate::sessions) fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        let of_track =
            |init: &&KnownInit| matches!(init.upstream, Resource::InitSegment { track: t, .. } if t == track);
        self.init_segments.iter().rev().find(of_track).map(|init| (init.generation, init.upstream.clone()))
    }

    /// The fragments that are listed, by track, oldest first, as published.
    pub(in crate::sessions) fn fragments(&self) -> Vec<Vec<Resource>> {
        let Some(newest) = self.periods.back() else { return Vec::new() };
        let listed = |at: usize| {
            self.listed_fragments()
                .filter(|fragment| fragment.period == newest.order)
                .filter_map(move |fragment| fragment.tracks[at].as_ref())
        };
        let tracks = newest.tracks.iter().enumerate().map(|(at, track)| {
            let numbers = listed(at).filter_map(|s| FragmentNumber::parse(&s.time.to_string()).ok());
            let track = track.track;
            numbers.map(|number| Resource::Mp4Fragment { protocol: Protocol::Dash, number, track }).collect()
        });
        tracks.collect()
    }

    /// The start of the newest fragment listed by its `kvs:ts`: where a replay has come to.
    pub(in crate::sessions) fn reached(&self) -> Option<Timestamp> {
        self.fragments.back()?.kvs_time
    }

    /// The fragments that are listed, oldest first. What a camera recorded before it was away is no longer
    /// listed: Shaka Player takes the last fragment ahead of a gap for as long as the gap, and its live edge
    /// falls back by that time for good.
    pub(super) fn listed_fragments(&self) -> impl Iterator<Item = &Fragment> {
        let from = self.fragments.len().saturating_sub(self.window);
        let listed = self.fragments.range(from..).zip(self.fragments.range(from..).skip(1));
        let hole = |(before, after): (&Fragment, &Fragment)| after.start > before.end + before.length() / 2;
        let after = listed.enumerate().rfind(|(_, pair)| self.live && hole(*pair));
        self.fragments.iter().skip(after.map_or(from, |(at, _)| from + at + 1))
    }

    /// How far back players may go, in milliseconds: the length of a full list. While the list is shorter,
    /// after a camera was away, it ends in the middle of the oldest fragment: dash.js goes there when it has
    /// fallen behind, and it stays for good at a place without media, or where a fragment just begins.
    pub(super) fn depth(&self) -> u64 {
        let from = self.fragments.len().saturating_sub(self.window);
        let full = self.fragments.range(from..);
        let (Some(oldest), Some(newest)) = (self.listed_fragments().next(), self.listed_fragments().last())
        else {
            return 0;
        };
        if self.listed_fragments().count() < full.len() {
            return newest.end.saturating_sub(oldest.start + oldest.length() / 2);
        }
        full.map(Fragment::length).sum()
    }

    fn track(&self, generation: Generation, upstream: &Resource) -> Option<&KnownInit> {
        self.init_segments.iter().find(|init| init.generation == generation && init.upstream == *upstream)
    }

    fn timescale(&self, generation: Generation, track: u8) -> Option<u32> {
        let of_track =
            |init: &&KnownInit| matches!(init.upstream, Resource::InitSegment { track: t, .. } if t == track);
        let mut inits = self.init_segments.iter().rev().filter(of_track);
        inits.find(|init| init.generation == generation).map(|init| init.content.timescale)
    }

    /// The place of a fragment that this session or another one listed before.
    fn place_of(&self, offer: &Offer<'_>) -> Option<usize> {
        let here = |source: &FragmentSource| {
            source.generation == offer.generation
                && source.period_index == offer.period_index
                && source.number == offer.segment.number
        };
        self.fragments.iter().rposition(|fragment| {
            fragment.sources.iter().any(here)
                || (fragment.number.is_some() && fragment.number == offer.segment.fragment)
        })
    }

    /// A known fragment is listed again. Its length may be known now, or another session may have it too.
    fn update(&mut self, at: usize, offer: &Offer<'_>) {
        let fragment = &mut self.fragments[at];
        let segments = offer.segments();
        let source = FragmentSource {
            generation: offer.generation,
            period_index: offer.period_index,
            number: offer.segment.number,
            shift: fragment
                .tracks
                .iter()
                .zip(segments.iter().zip(&offer.period.templates))
                .map(|(known, (there, template))| match (known, there) {
                    (Some(known), Some(there)) => template.millis(known.time.saturating_sub(there.time)),
                    _ => 0,
                })
                .collect(),
        };
        match fragment.sources.iter().position(|known| known.generation == source.generation) {
            None => fragment.sources.push(source),
            // The length is the one that the first session lists.
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

    /// True if the fragment comes after all that are listed: by its number, else by its time, else by its
    /// place.
    fn is_new(&self, offer: &Offer<'_>) -> bool {
        let Some(last) = self.fragments.back() else { return true };
        match (&offer.segment.fragment, &last.number) {
            (Some(number), Some(last)) => number > last,
            _ => match (kvs_time(offer.segment), last.kvs_time) {
                (Some(time), Some(last)) => time > last,
                // Half a fragment of tolerance, because the clocks of two sessions differ.
                _ => offer.wall() + last.length() / 2 >= last.end,
            },
        }
    }

    fn add(&mut self, offer: &Offer<'_>) -> Result<(), &'static str> {
        let start = self.start(offer);
        let period = self.period(offer, start)?;
        let shift: Vec<u64> = offer.period.templates.iter().map(|t| offer.shift(t, start)).collect();
        let mut tracks = offer.segments();
        for (track, (shift, template)) in tracks.iter_mut().zip(shift.iter().zip(&offer.period.templates)) {
            if let Some(segment) = track {
                segment.time = segment.time.saturating_add(template.ticks(*shift));
            }
        }
        let (generation, period_index, number) = (offer.generation, offer.period_index, offer.segment.number);
        self.fragments.push_back(Fragment {
            period,
            number: offer.segment.fragment.clone(),
            kvs_time: kvs_time(offer.segment),
            start,
            end: start + offer.leading().millis(offer.segment.duration),
            tracks,
            sources: vec![FragmentSource { generation, period_index, number, shift }],
        });
        Ok(())
    }

    /// Where a new fragment begins, milliseconds since 1970.
    fn start(&self, offer: &Offer<'_>) -> u64 {
        let Some(last) = self.fragments.back() else {
            return self.saved_start(offer).unwrap_or_else(|| offer.clock(self.live));
        };
        let length = last.length();
        // Within one session the manifest of KVS says where it follows.
        let here = |source: &&FragmentSource| {
            source.generation == offer.generation && source.period_index == offer.period_index
        };
        let follows = last.sources.iter().find(here).map_or(last.end, |source| {
            let there = source.shift.first().copied().unwrap_or(0);
            offer.millis().saturating_add(there).max(last.start + 1)
        });
        // The difference of two `kvs:ts` is best, because the errors of the clock cancel out.
        let meant = match (kvs_time(offer.segment), last.kvs_time) {
            (Some(time), Some(before)) => {
                last.start + time.millis().saturating_sub(before.millis()).min(LONGEST_GAP)
            }
            _ => offer.clock(self.live).min(last.end + LONGEST_GAP),
        };
        // Less than a fragment is not a gap but the difference of two clocks.
        if meant >= follows + length { meant } else { follows }
    }

    /// The period for a new fragment: the last one, unless the tracks have changed.
    fn period(&mut self, offer: &Offer<'_>, start: u64) -> Result<u64, &'static str> {
        let mut tracks = Vec::new();
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        for template in &offer.period.templates {
            let init = self.track(offer.generation, &template.init).ok_or(NO_INIT)?;
            let Resource::InitSegment { track, .. } = init.published else { return Err(NO_INIT) };
            // FNV-1a: the same in every process.
            for byte in init.content.digest.to_be_bytes().into_iter().chain([track]) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            let (timescale, init) = (template.timescale, init.published.clone());
            tracks.push(PublishedTrack { track, timescale, init });
        }
        let id = format!("{digest:016x}");
        let same = |period: &&Period| {
            let timescales =
                |tracks: &[PublishedTrack]| tracks.iter().map(|t| t.timescale).collect::<Vec<_>>();
            period.id.starts_with(&id) && timescales(&period.tracks) == timescales(&tracks)
        };
        if let Some(last) = self.periods.back().filter(same) {
            return Ok(last.order);
        }
        // The same settings may come back while their first period is still listed.
        let taken = self.periods.iter().any(|period| period.id.starts_with(&id));
        let id = if taken { format!("{id}-{start}") } else { id };
        let resumed = self.resumed.take_if(|saved| saved.period.0.starts_with(&id));
        let (id, start) = match resumed {
            Some(saved) if self.periods.is_empty() => saved.period,
            _ if self.periods.is_empty() => (id, 0),
            _ => (id, start),
        };
        self.begun += 1;
        let element = offer.period.element.clone();
        self.periods.push_back(Period { order: self.begun, id, start, element, tracks });
        Ok(self.begun)
    }
}

const NO_INIT: &str = "KVS's manifest names an init segment that is none";

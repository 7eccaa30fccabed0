//! What players of live DASH must not notice: that upstream sessions end and begin anew.
//!
//! DASH numbers and times are positions in a session (`KVS.md` trap 24), so each upstream session becomes a `Period` of
//! its own in one manifest. All periods stand on a timeline that begins in 1970 and runs by KVS's own wall clock
//! (`availabilityStartTime` of the session plus time in the session): a restarted or second kvs-edge puts the same
//! footage at the same place without knowing of the other. A period never begins before the one ahead of it ends.
//! What an older session already listed, a newer does not list again.
//!
//! Segment numbers are ours: they go on over sessions, and lead back to session and number there. They begin by the
//! clock, see `numbering`. `publishTime` changes when the rest does, and never goes back.
//!
//! Pure: manifests in, manifests out.

use super::continuity::Generation;
use super::inits::Inits;
use super::manifest::{self, Manifest, Segment, Template};
use super::numbering;
use super::xml::{Element, Node};
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// One stream as its players see it.
pub(super) struct Periods {
    /// Fragments listed at most.
    window: usize,
    /// `kvs:ts` and `kvs:fn` are shown.
    shown: (bool, bool),
    periods: VecDeque<Period>,
    /// Which numbers lead where, oldest first; more than are listed.
    ranges: VecDeque<Range>,
    inits: Inits,
    next: u64,
    last: Option<(String, Timestamp)>,
}

/// One upstream period, as published.
struct Period {
    /// Unique over sessions and restarts, as numbers are: the first number it listed.
    id: u64,
    generation: Generation,
    /// Which of that session's.
    place: usize,
    /// Without segments.
    element: Element,
    /// Milliseconds since 1970.
    start: u64,
    /// Number there plus this is the number here.
    shift: u64,
    /// The first that this period listed, and the first that it lists, by their numbers in the session.
    cut: u64,
    first: u64,
    /// `offset` is where this period begins on the media timeline.
    templates: Vec<Template>,
}

struct Range {
    first: u64,
    generation: Generation,
    shift: u64,
}

/// A published manifest.
pub(super) struct Published {
    pub text: String,
    /// The longest fragment.
    pub target: Duration,
    pub ended: bool,
}

const RANGES: usize = 64;
/// A year, in milliseconds: no camera is waited for longer, and sums stay in range.
const LONGEST_GAP: u64 = 366 * 86_400_000;

/// Numbers of a session's segments between two gaps in time: from the first, up to and without the last.
struct Stretch {
    from: u64,
    to: u64,
    /// A gap precedes it.
    after_gap: bool,
}

impl Stretch {
    fn lists(&self, number: u64) -> bool {
        (self.from..self.to).contains(&number)
    }

    /// True if a period that begins with this number is of this stretch. Of the first stretch listed, the beginning
    /// may have slid out.
    fn holds(&self, cut: u64) -> bool {
        cut < self.to && (!self.after_gap || cut >= self.from)
    }
}

/// Cuts what a session lists where, by the times told, more than two fragments are missing.
fn stretches(template: &Template) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut before: Option<&Segment> = None;
    for segment in &template.segments {
        let gap = before.is_some_and(|before| {
            let length = template.millis(before.duration);
            told(before)
                .zip(told(segment))
                .is_some_and(|(t0, t1)| t1.millis().saturating_sub(t0.millis()) > 3 * length)
        });
        match stretches.last_mut() {
            Some(stretch) if !gap => stretch.to = segment.number + 1,
            _ => stretches.push(Stretch { from: segment.number, to: segment.number + 1, after_gap: gap }),
        }
        before = Some(segment);
    }
    stretches
}

impl Periods {
    pub(super) fn new(window: usize, timestamps: bool, numbers: bool) -> Self {
        Self {
            window: window.max(1),
            shown: (timestamps, numbers),
            periods: VecDeque::new(),
            ranges: VecDeque::new(),
            inits: Inits::default(),
            next: 0,
            last: None,
        }
    }

    /// True until something has been merged.
    pub(super) fn is_empty(&self) -> bool {
        self.periods.is_empty()
    }

    /// Merges what `generation` lists and gives what players shall see.
    pub(super) fn merge(
        &mut self,
        generation: Generation,
        text: &str,
        now: Timestamp,
    ) -> Result<Published, &'static str> {
        let Manifest { declaration, root, available, ended, periods } = Manifest::parse(text)?;
        for (place, offered) in periods.into_iter().enumerate() {
            for stretch in stretches(&offered.templates[0]) {
                let is_it =
                    |p: &Period| p.generation == generation && p.place == place && stretch.holds(p.cut);
                match self.periods.iter().rposition(is_it) {
                    Some(at) if self.periods[at].templates.len() == offered.templates.len() => {
                        self.update(at, &offered.templates, &stretch);
                    }
                    Some(_) => return Err("KVS's manifest changed its tracks within a session"),
                    None => self.begin((generation, place), available, &offered, &stretch, now),
                }
            }
        }
        self.slide();
        let longest = self.periods.iter().flat_map(|period| {
            let template = &period.templates[0];
            template.segments.iter().map(|segment| template.millis(segment.duration))
        });
        let target = Duration::from_millis(longest.max().unwrap_or(2000));
        let text = self.render(&declaration, root, ended, now)?;
        Ok(Published { text, target, ended })
    }

    /// The session behind a segment number, and its number there.
    pub(super) fn behind(&self, number: &FragmentNumber) -> Option<(Generation, FragmentNumber)> {
        let number: u64 = number.as_str().parse().ok()?;
        let range = self.ranges.iter().rev().find(|range| range.first <= number)?;
        let there = number.checked_sub(range.shift).filter(|_| number < self.next)?;
        FragmentNumber::parse(&there.to_string()).ok().map(|there| (range.generation, there))
    }

    /// The init segment behind a published address.
    pub(super) fn init(&self, published: &Resource) -> Option<(Generation, Resource)> {
        self.inits.find(published)
    }

    /// The init segment last published for a track.
    pub(super) fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        self.inits.latest(track)
    }

    /// The fragments that players see, by track, oldest first, by their published numbers.
    pub(super) fn fragments(&self) -> Vec<Vec<Resource>> {
        let Some(newest) = self.periods.back() else { return Vec::new() };
        let tracks = newest.templates.iter().filter_map(|template| match template.init {
            Resource::InitSegment { track, .. } => Some((template, track)),
            _ => None,
        });
        tracks
            .map(|(template, track)| {
                let numbers =
                    template.segments.iter().map(|s| s.number.saturating_add(newest.shift).to_string());
                numbers
                    .filter_map(|digits| FragmentNumber::parse(&digits).ok())
                    .map(|number| Resource::Mp4Fragment { protocol: Protocol::Dash, number, track })
                    .collect()
            })
            .collect()
    }

    /// The start of the newest fragment listed, as `kvs:ts` tells it: where a replay has come to.
    pub(super) fn reached(&self) -> Option<Timestamp> {
        let template = self.periods.back()?.templates.first()?;
        told(template.segments.last()?)
    }

    fn update(&mut self, at: usize, templates: &[Template], stretch: &Stretch) {
        // What an older session says after a newer one has begun comes late.
        if at + 1 < self.periods.len() {
            return;
        }
        let period = &mut self.periods[at];
        for (known, offered) in period.templates.iter_mut().zip(templates) {
            let mut segments = offered.segments.clone();
            segments.retain(|segment| segment.number >= period.first && segment.number < stretch.to);
            let newest = |segments: &[Segment]| segments.last().map(|segment| segment.number);
            // An answer that was overtaken by a later one lists less.
            if newest(&segments) >= newest(&known.segments) {
                known.segments = segments;
            }
        }
        self.count(at);
    }

    /// A new period with what is not listed yet; nothing if all of it is.
    fn begin(
        &mut self,
        (generation, place): (Generation, usize),
        available: Timestamp,
        offered: &manifest::Period,
        stretch: &Stretch,
        now: Timestamp,
    ) {
        let leading = &offered.templates[0];
        let into = |segment: &Segment| leading.millis(segment.time.saturating_sub(leading.offset));
        let wall = |segment: &Segment| available.millis() + offered.start + into(segment);
        let listed: Vec<_> = leading.segments.iter().filter(|s| stretch.lists(s.number)).collect();
        let fresh = listed.iter().position(|segment| self.is_new(segment, wall(segment)));
        let Some(fresh) = fresh.map(|at| at.max(listed.len().saturating_sub(self.window))) else { return };
        let (first, cut) = (listed[fresh], listed[fresh].number);
        let start = self.start(first, wall(first));
        let ours = self.next.max(numbering::clock(now));
        let shift = ours.saturating_sub(cut);
        let mut templates = offered.templates.clone();
        for template in &mut templates {
            template.offset = template.offset.saturating_add(template.ticks(into(first)));
            template.segments.retain(|segment| segment.number >= cut && segment.number < stretch.to);
            template.init = self.inits.address(generation, &template.init, now);
        }
        self.ranges.push_back(Range { first: ours, generation, shift });
        if self.ranges.len() > RANGES {
            self.ranges.pop_front();
        }
        let element = offered.element.clone();
        self.periods.push_back(Period {
            id: ours,
            generation,
            place,
            element,
            start,
            shift,
            cut,
            first: cut,
            templates,
        });
        self.count(self.periods.len() - 1);
    }

    /// True if nothing listed is this fragment or a later one: by its own number, else its time, else its place.
    fn is_new(&self, segment: &Segment, wall: u64) -> bool {
        let Some(period) = self.periods.back() else { return true };
        let Some(last) = period.templates[0].segments.last() else { return true };
        match (&segment.fragment, &last.fragment) {
            (Some(number), Some(last)) => number > last,
            _ => match (told(segment), told(last)) {
                (Some(time), Some(last)) => time > last,
                // Half a fragment of tolerance: the clocks of two sessions differ.
                _ => wall + period.templates[0].millis(last.duration) / 2 >= period.end(),
            },
        }
    }

    /// Where a period begins that begins with `first`, which by KVS's manifest is at `wall`. Times that are told say
    /// it better: KVS closes gaps in its manifests, and players go by the clock.
    fn start(&self, first: &Segment, wall: u64) -> u64 {
        let Some(period) = self.periods.back() else { return wall };
        let (end, template) = (period.end(), &period.templates[0]);
        let Some(last) = template.segments.last() else { return wall.max(end) };
        let length = template.millis(last.duration);
        let start = match (told(last), told(first)) {
            (Some(last), Some(first)) => {
                end + first.millis().saturating_sub(last.millis().saturating_add(length)).min(LONGEST_GAP)
            }
            _ => wall,
        };
        // Less than a fragment is not a gap but two clocks.
        if start < end + length { end } else { start }
    }

    /// Counts on past the numbers that a period has used.
    fn count(&mut self, at: usize) {
        let period = &self.periods[at];
        let newest = period.templates.iter().filter_map(|t| t.segments.last()).map(|s| s.number).max();
        self.next = self.next.max(newest.unwrap_or(0).saturating_add(period.shift).saturating_add(1));
    }

    /// Drops the oldest fragments beyond the window, on all tracks alike, and periods that are left empty.
    fn slide(&mut self) {
        let mut listed: usize = self.periods.iter().map(|period| period.templates[0].segments.len()).sum();
        while listed > self.window {
            let Some(period) = self.periods.front_mut() else { return };
            let excess = (listed - self.window).min(period.templates[0].segments.len());
            period.templates[0].segments.drain(..excess);
            listed -= excess;
            let first = period.templates[0].segments.first().map(|segment| segment.number);
            let Some(first) = first else {
                self.periods.pop_front();
                continue;
            };
            for template in &mut period.templates[1..] {
                template.segments.retain(|segment| segment.number >= first);
            }
            period.first = first;
        }
    }

    fn render(
        &mut self,
        declaration: &str,
        mut root: Element,
        ended: bool,
        now: Timestamp,
    ) -> Result<String, &'static str> {
        root.set("type", "dynamic".to_owned());
        root.set("availabilityStartTime", Timestamp::from_millis(0).to_string());
        let (Some(first), Some(last)) = (self.periods.front(), self.periods.back()) else {
            return Err("KVS's manifest lists nothing");
        };
        root.set("timeShiftBufferDepth", manifest::shown(last.end().saturating_sub(first.begins())));
        if ended {
            // A live presentation that is over says so by its length.
            root.remove("minimumUpdatePeriod");
            root.set("mediaPresentationDuration", manifest::shown(last.end()));
        }
        if root.children("UTCTiming").next().is_none() {
            root.children.push(Node::Element(clock(&root.name)));
        }
        // Periods stand ahead of UTCTiming and the like.
        let late =
            ["Metrics", "EssentialProperty", "SupplementalProperty", "UTCTiming", "LeapSecondInformation"];
        let at =
            root.children.iter().position(|n| matches!(n, Node::Element(e) if late.contains(&e.local())));
        let at = at.unwrap_or(root.children.len());
        let ends = self.periods.iter().skip(1).map(|next| Some(next.start)).chain([None]);
        let periods: Vec<Node> = self
            .periods
            .iter()
            .zip(ends)
            .map(|(period, next)| Node::Element(period.published(next, self.shown)))
            .collect();
        root.children.splice(at..at, periods);
        root.remove("publishTime");
        let mut body = String::from(declaration);
        root.render(&mut body);
        let changed = match &self.last {
            Some((before, changed)) if *before == body => *changed,
            Some((_, changed)) => now.max(changed.plus(Duration::from_millis(1))),
            None => now,
        };
        self.last = Some((body, changed));
        root.set("publishTime", changed.to_string());
        let mut text = String::from(declaration);
        root.render(&mut text);
        text.push('\n');
        Ok(text)
    }
}

impl Period {
    /// Where its first listed fragment begins, milliseconds since 1970.
    fn begins(&self) -> u64 {
        let template = &self.templates[0];
        let first = template.segments.first().map_or(template.offset, |first| first.time);
        self.start + template.millis(first.saturating_sub(template.offset))
    }

    /// Its end, milliseconds since 1970.
    fn end(&self) -> u64 {
        let template = &self.templates[0];
        let last =
            template.segments.last().map_or(template.offset, |last| last.time.saturating_add(last.duration));
        self.start + template.millis(last.saturating_sub(template.offset))
    }

    fn published(&self, next: Option<u64>, shown: (bool, bool)) -> Element {
        let mut element = self.element.clone();
        element.set("id", self.id.to_string());
        element.set("start", manifest::shown(self.start));
        element.remove("duration");
        if let Some(next) = next {
            let end = self.end().min(next);
            element.set("duration", manifest::shown(end.saturating_sub(self.start)));
        }
        let mut templates = self.templates.iter();
        element.visit_mut(&mut |found| {
            if found.local() == "SegmentTemplate"
                && let Some(template) = templates.next()
            {
                self.fill(found, template, shown);
            }
        });
        element
    }

    fn fill(&self, element: &mut Element, template: &Template, shown: (bool, bool)) {
        let first = template.segments.first().map_or(self.first, |segment| segment.number);
        element.set("startNumber", first.saturating_add(self.shift).to_string());
        element.set("presentationTimeOffset", template.offset.to_string());
        element.set("initialization", template.init.to_string().replace('&', "&amp;"));
        let mut timeline = Element { name: "SegmentTimeline".to_owned(), ..Element::default() };
        for segment in &template.segments {
            let mut s = Element { name: "S".to_owned(), ..Element::default() };
            s.set("t", segment.time.to_string());
            s.set("d", segment.duration.to_string());
            let seen = |name: &str| match name.rsplit(':').next() {
                Some("ts") => shown.0,
                Some("fn") => shown.1,
                _ => true,
            };
            s.attributes.extend(segment.attributes.iter().filter(|(name, _)| seen(name)).cloned());
            timeline.children.push(Node::Element(s));
        }
        if let Some((prefix, _)) = element.name.rsplit_once(':') {
            let prefix = prefix.to_owned();
            timeline.visit_mut(&mut |e| e.name = format!("{prefix}:{}", e.name));
        }
        element.children = vec![Node::Element(timeline)];
    }
}

/// Tells players to take the time from our `Date` header. Without it dash.js asks a server of its maker's choice.
fn clock(sibling: &str) -> Element {
    let prefix = sibling.rsplit_once(':').map_or(String::new(), |(prefix, _)| format!("{prefix}:"));
    let mut clock = Element { name: format!("{prefix}UTCTiming"), ..Element::default() };
    clock.set("schemeIdUri", "urn:mpeg:dash:utc:http-head:2014".to_owned());
    clock.set("value", Resource::Manifest.to_string());
    clock
}

/// A fragment's own time by `kvs:ts`, milliseconds or seconds since 1970 (`KVS.md` 5.6: the unit is not known).
fn told(segment: &Segment) -> Option<Timestamp> {
    let (_, text) = segment.attributes.iter().find(|(name, _)| name.rsplit(':').next() == Some("ts"))?;
    match text.parse::<u64>() {
        Ok(millis) if millis > 100_000_000_000 => Some(Timestamp::from_millis(millis)),
        _ => Timestamp::parse(text).ok(),
    }
}

#[cfg(test)]
mod tests;

//! Writes the merged manifest.

use super::published::{Period, PublishedTrack};
use super::timeline::Timeline;
use crate::kvs::{Resource, Timestamp};
use crate::sessions::dash::manifest::{self, TimelineSegment};
use crate::sessions::dash::xml::{Element, Node};
use std::time::Duration;

impl Timeline {
    pub(in crate::sessions) fn render(
        &mut self,
        declaration: &str,
        mut root: Element,
        ended: bool,
        now: Timestamp,
    ) -> Result<String, &'static str> {
        root.set("type", "dynamic".to_owned());
        root.set("availabilityStartTime", Timestamp::from_millis(0).to_string());
        let Some(ends) = self.listed_fragments().last().map(|last| last.end) else {
            return Err("KVS's manifest lists nothing");
        };
        root.set("timeShiftBufferDepth", manifest::shown(self.depth()));
        if ended {
            // The length of a live presentation says that it is over.
            root.remove("minimumUpdatePeriod");
            root.set("mediaPresentationDuration", manifest::shown(ends));
        }
        if root.children("UTCTiming").next().is_none() {
            root.children.push(Node::Element(clock(&root.name)));
        }
        // Timeline stand ahead of UTCTiming and the like.
        let late =
            ["Metrics", "EssentialProperty", "SupplementalProperty", "UTCTiming", "LeapSecondInformation"];
        let at =
            root.children.iter().position(|n| matches!(n, Node::Element(e) if late.contains(&e.local())));
        let at = at.unwrap_or(root.children.len());
        let oldest = self.listed_fragments().next().map_or(0, |fragment| fragment.period);
        let listed = || self.periods.iter().filter(|period| period.order >= oldest);
        let starts = listed().skip(1).map(|next| Some(next.start)).chain([None]);
        let periods = listed().zip(starts);
        let periods: Vec<_> =
            periods.map(|(period, next)| Node::Element(self.published(period, next))).collect();
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

    fn published(&self, period: &Period, next: Option<u64>) -> Element {
        let mut element = period.element.clone();
        element.set("id", period.id.clone());
        element.set("start", manifest::shown(period.start));
        element.remove("duration");
        if let Some(next) = next {
            element.set("duration", manifest::shown(next.saturating_sub(period.start)));
        }
        let mut at = 0;
        element.visit_mut(&mut |found| {
            if found.local() == "SegmentTemplate"
                && let Some(track) = period.tracks.get(at)
            {
                let segments = self
                    .listed_fragments()
                    .filter(|fragment| fragment.period == period.order)
                    .filter_map(|fragment| fragment.tracks.get(at)?.as_ref());
                fill(found, period.start, track, segments, self.shown);
                at += 1;
            }
        });
        element
    }
}

fn fill<'a>(
    element: &mut Element,
    start: u64,
    track: &PublishedTrack,
    segments: impl Iterator<Item = &'a TimelineSegment>,
    shown: (bool, bool),
) {
    element.remove("startNumber");
    // The times of the media are counted from 1970, so the offset of a period is its start.
    let offset = u128::from(start) * u128::from(track.timescale) / 1000;
    element.set("presentationTimeOffset", offset.to_string());
    element.set("initialization", track.init.to_string().replace('&', "&amp;"));
    if let Some(media) = element.get("media").map(|media| media.replace("$Number$", "$Time$")) {
        element.set("media", media);
    }
    let mut timeline = Element { name: "SegmentTimeline".to_owned(), ..Element::default() };
    for segment in segments {
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

/// Makes players take the time from the `Date` header of kvs-edge. Without it dash.js asks a public server.
fn clock(sibling: &str) -> Element {
    let prefix = sibling.rsplit_once(':').map_or(String::new(), |(prefix, _)| format!("{prefix}:"));
    let mut clock = Element { name: format!("{prefix}UTCTiming"), ..Element::default() };
    clock.set("schemeIdUri", "urn:mpeg:dash:utc:http-head:2014".to_owned());
    clock.set("value", Resource::Manifest.to_string());
    clock
}

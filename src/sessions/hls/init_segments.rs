//! Published addresses of init segments, and where each leads.
//!
//! KVS numbers init segments anew in each session, so one address can mean two segments, and a player that
//! caches init segments by address would decode with the wrong one. Each is published with a number that
//! follows from its content, which is the same for equal ones in every session and process. Where the content
//! is not known, it gets a number that no other session or process gives.

use crate::kvs::{Resource, Timestamp};
use crate::playback::mp4;
use crate::sessions::numbering;
use crate::sessions::numbering::Generation;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The published addresses of init segments.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(super) struct InitSegments {
    known: VecDeque<(u32, Generation, Resource)>,
    learned: VecDeque<(Generation, Resource, mp4::Init)>,
    last: u32,
}

/// Init segments remembered, for players that still hold an address.
const REMEMBERED: usize = 64;

impl InitSegments {
    /// The published address of an init segment of a session.
    pub(super) fn address(
        &mut self,
        generation: Generation,
        upstream: &Resource,
        now: Timestamp,
    ) -> Resource {
        let known = self.known.iter().find(|(_, of, resource)| *of == generation && resource == upstream);
        if let Some((id, ..)) = known {
            return renumbered(upstream, *id);
        }
        let id = match self.content(generation, upstream) {
            Some(content) => u32::try_from(content.digest % 1_000_000_000).unwrap_or_default(),
            None => {
                self.last = numbering::init_epoch(now).max(self.last.saturating_add(1));
                self.last
            }
        };
        self.known.push_back((id, generation, upstream.clone()));
        if self.known.len() > REMEMBERED {
            self.known.pop_front();
        }
        renumbered(upstream, id)
    }

    /// Forgets all but the newest `most`.
    pub(super) fn keep_newest(&mut self, most: usize) {
        self.known.drain(..self.known.len().saturating_sub(most));
        self.learned.drain(..self.learned.len().saturating_sub(most));
    }

    /// Adds those that are not known.
    pub(super) fn add_older(&mut self, older: Self) {
        for entry in older.known.into_iter().rev() {
            if !self.known.contains(&entry) {
                self.known.push_front(entry);
            }
        }
        for entry in older.learned.into_iter().rev() {
            if !self.learned.contains(&entry) {
                self.learned.push_front(entry);
            }
        }
        self.last = self.last.max(older.last);
        self.known.drain(..self.known.len().saturating_sub(REMEMBERED));
        self.learned.drain(..self.learned.len().saturating_sub(REMEMBERED));
    }

    /// Notes what an init segment of a session holds.
    pub(super) fn learn(&mut self, generation: Generation, upstream: &Resource, content: mp4::Init) {
        self.learned.push_back((generation, upstream.clone(), content));
        if self.learned.len() > REMEMBERED {
            self.learned.pop_front();
        }
    }

    /// What an init segment holds, if that is known.
    pub(super) fn content(&self, generation: Generation, upstream: &Resource) -> Option<mp4::Init> {
        let mut learned = self.learned.iter().rev();
        learned
            .find(|(of, resource, _)| *of == generation && resource == upstream)
            .map(|(.., content)| *content)
    }

    /// What the newest init segment of a track holds in a session.
    pub(super) fn newest(&self, generation: Generation, track: u8) -> Option<mp4::Init> {
        let mut learned = self.learned.iter().rev();
        learned.find(|(of, init, _)| *of == generation && is_of(init, track)).map(|(.., content)| *content)
    }

    /// Where an address leads, in the newest session that has it.
    pub(super) fn find(&self, published: &Resource) -> Option<(Generation, Resource)> {
        let mut known = self.known.iter().rev();
        let (_, generation, upstream) =
            known.find(|(id, _, upstream)| renumbered(upstream, *id) == *published)?;
        Some((*generation, upstream.clone()))
    }

    pub(super) fn latest(&self, track: u8) -> Option<(Generation, Resource)> {
        let (_, generation, upstream) =
            self.known.iter().rev().find(|(.., resource)| is_of(resource, track))?;
        Some((*generation, upstream.clone()))
    }
}

fn is_of(init: &Resource, track: u8) -> bool {
    matches!(init, Resource::InitSegment { track: of, .. } if *of == track)
}

fn renumbered(init: &Resource, id: u32) -> Resource {
    let (protocol, track) = match init {
        Resource::InitSegment { protocol, track, .. } => (*protocol, *track),
        other => (other.protocol(), 1),
    };
    Resource::InitSegment { protocol, track, sequence: Some(id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::Protocol;

    fn init(track: u8, sequence: Option<u32>) -> Resource {
        Resource::InitSegment { protocol: Protocol::Hls, track, sequence }
    }

    #[test]
    fn one_address_per_session_track_and_epoch() {
        let (mut inits, now) = (InitSegments::default(), Timestamp::from_millis(1_800_000_000_000));
        let first = inits.address(1, &init(1, None), now);
        assert_eq!(inits.address(1, &init(1, None), now), first);
        for other in [(2, init(1, None)), (1, init(2, None)), (1, init(1, Some(1)))] {
            let address = inits.address(other.0, &other.1, now);
            assert_ne!(address, first);
            assert_eq!(inits.find(&address), Some(other));
        }
        assert_eq!(inits.find(&first), Some((1, init(1, None))));
        assert_eq!(inits.latest(1), Some((1, init(1, Some(1)))));
        assert_eq!(inits.find(&init(1, Some(7))), None);
    }

    #[test]
    fn equal_ones_have_one_address_in_every_session_and_process() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let track = |digest| mp4::Init { timescale: 16_000, digest };
        let mut inits = InitSegments::default();
        inits.learn(1, &init(1, None), track(5_000_000_007));
        inits.learn(2, &init(1, Some(0)), track(5_000_000_007));
        inits.learn(2, &init(1, Some(1)), track(8));
        let first = inits.address(1, &init(1, None), now);
        assert_eq!(first, init(1, Some(7)));
        assert_eq!(inits.find(&first), Some((1, init(1, None))));
        assert_eq!(inits.address(2, &init(1, Some(0)), now), first);
        assert_eq!(inits.find(&first), Some((2, init(1, Some(0)))), "the newest session lives longest");
        assert_ne!(inits.address(2, &init(1, Some(1)), now), first);
        assert_eq!(inits.newest(2, 1), Some(track(8)));
        assert_eq!(inits.newest(2, 2), None);
    }
}

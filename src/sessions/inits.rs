//! Published addresses of init segments, and what stands behind each.
//!
//! KVS numbers init segments anew in each session, so that one address can mean two things; a player that keeps init
//! segments by their address would decode with the wrong one. Published, each has a number that no other session or
//! process gives.

use super::continuity::Generation;
use super::numbering;
use crate::kvs::{Resource, Timestamp};
use std::collections::VecDeque;

/// Our addresses of init segments.
#[derive(Default)]
pub(super) struct Inits {
    known: VecDeque<(u32, Generation, Resource)>,
    last: u32,
}

/// Sessions of one stream that a player could still ask inits of.
const INITS: usize = 64;

impl Inits {
    /// The published address of an init segment of a session.
    pub(super) fn address(
        &mut self,
        generation: Generation,
        upstream: &Resource,
        now: Timestamp,
    ) -> Resource {
        let known = self.known.iter().find(|(_, of, resource)| *of == generation && resource == upstream);
        let id = known.map(|(id, ..)| *id).unwrap_or_else(|| {
            self.last = numbering::init_epoch(now).max(self.last.saturating_add(1));
            self.known.push_back((self.last, generation, upstream.clone()));
            if self.known.len() > INITS {
                self.known.pop_front();
            }
            self.last
        });
        renumbered(upstream, id)
    }

    pub(super) fn find(&self, published: &Resource) -> Option<(Generation, Resource)> {
        let (_, generation, upstream) =
            self.known.iter().find(|(id, _, upstream)| renumbered(upstream, *id) == *published)?;
        Some((*generation, upstream.clone()))
    }

    pub(super) fn latest(&self, track: u8) -> Option<(Generation, Resource)> {
        let of_track =
            |resource: &Resource| matches!(resource, Resource::InitSegment { track: t, .. } if *t == track);
        let (_, generation, upstream) = self.known.iter().rev().find(|(.., resource)| of_track(resource))?;
        Some((*generation, upstream.clone()))
    }
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
        let (mut inits, now) = (Inits::default(), Timestamp::from_millis(1_800_000_000_000));
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
}

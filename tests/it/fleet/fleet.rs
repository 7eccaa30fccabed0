//! Replicas of one fleet, each a process, behind a balancer that sends each request to the next one; and
//! players that notice when something goes back.

use crate::harness::{Answer, Edge, Replica, Setup};
use crate::playback::{beside, media, tag};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Replicas of one fleet. `edge` has their emulator and makes playback URLs; no player reaches it.
pub struct Fleet {
    pub edge: Edge,
    pub replicas: Vec<Replica>,
    /// Those that the balancer sends requests to.
    present: RefCell<Vec<bool>>,
}

impl Fleet {
    /// So many of them, with these settings beside the usual ones.
    pub async fn start(settings: String, count: usize) -> Self {
        let edge = Setup { more: settings, ..Setup::default() }.start().await;
        let replicas = edge.replicas(count, &[]).await;
        let present = RefCell::new(vec![true; count]);
        Self { edge, replicas, present }
    }

    /// The same with a new process in place of each, one after another.
    pub async fn replace(self) -> Self {
        let Self { edge, replicas, present } = self;
        let mut new = Vec::new();
        for old in replicas {
            let replica = edge.start_replica(100 + new.len(), &[]);
            edge.until_ready(&replica).await;
            old.signal("TERM").await;
            new.push(replica);
        }
        Self { edge, replicas: new, present }
    }

    /// The balancer sends nothing to it any more.
    pub fn leave(&self, replica: usize) {
        self.present.borrow_mut()[replica] = false;
    }

    /// It does again.
    pub fn join(&self, replica: usize) {
        self.present.borrow_mut()[replica] = true;
    }

    /// An address of `edge` at the replica that has the next turn.
    fn next(&self, turn: &mut usize, url: &str) -> String {
        let present = self.present.borrow();
        loop {
            *turn += 1;
            if present[*turn % present.len()] {
                return url.replace(&self.edge.url, &self.replicas[*turn % present.len()].url());
            }
        }
    }
}

/// What one player saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub answers: usize,
    /// Answers other than 200.
    pub failed: Vec<String>,
    /// Answers that said less than an earlier one.
    pub back: Vec<String>,
    /// Answers that said more.
    pub steps: usize,
    /// Fragments whose bytes depended on the replica, of so many.
    pub differing: Vec<String>,
    pub compared: usize,
    /// The longest time between two steps.
    pub stalled: Duration,
    /// The longest time that an answer took.
    pub slowest: Duration,
    /// What the first and the last answer said.
    pub first: Vec<String>,
    pub last: Vec<String>,
}

/// What may only grow in a playlist or manifest: MEDIA-SEQUENCE with the fragments listed, and
/// DISCONTINUITY-SEQUENCE, or the time of publication; and the fragments that it lists.
fn progress(text: &str) -> (Vec<String>, Vec<String>) {
    if let Some(at) = text.find("publishTime=\"") {
        let time = text[at + 13..].split('"').next().unwrap().to_owned();
        return (vec![time], Vec::new());
    }
    let (number, listed) = (|name| tag(text, name).unwrap_or(0), media(text));
    let first = number("#EXT-X-MEDIA-SEQUENCE");
    let numbers = [first, first + listed.len() as u64, number("#EXT-X-DISCONTINUITY-SEQUENCE")];
    (numbers.map(|number| format!("{number:020}")).to_vec(), listed)
}

/// Plays `list` from the replicas in turn, each 100 ms, for so long. Each fragment is fetched from two of
/// them.
pub async fn play(fleet: &Fleet, list: &str, lasts: Duration, meanwhile: impl AsyncFn(Duration)) -> Seen {
    let http = &fleet.edge.http;
    let mut seen = Seen::default();
    let mut known = BTreeSet::new();
    // Each player has turns of its own: two in step would leave replicas out.
    let mut turn = 0;
    let (began, mut stepped) = (Instant::now(), Instant::now());
    while began.elapsed() < lasts {
        meanwhile(began.elapsed()).await;
        let address = fleet.next(&mut turn, list);
        let asked = Instant::now();
        let answer: Answer = http.get(&address, &[]).await;
        seen.slowest = seen.slowest.max(asked.elapsed());
        seen.answers += 1;
        let at = format!("{:?} {}", began.elapsed(), &address[..22]);
        if answer.status != 200 {
            seen.failed.push(format!("{at}: {} {}", answer.status, answer.text()));
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let (numbers, fragments) = progress(&answer.text());
        if numbers.iter().zip(&seen.last).any(|(now, before)| now < before) {
            seen.back.push(format!("{at}: {:?} then {numbers:?}", seen.last));
        }
        if numbers > seen.last {
            seen.steps += 1;
            seen.stalled = seen.stalled.max(stepped.elapsed());
            stepped = Instant::now();
        }
        if seen.first.is_empty() {
            seen.first.clone_from(&numbers);
        }
        seen.last = numbers;
        for uri in fragments {
            if known.contains(&uri) {
                continue;
            }
            let mut bodies = Vec::new();
            for _ in 0..2 {
                let address = fleet.next(&mut turn, &beside(list, &uri));
                let fragment = http.get(&address, &[]).await;
                if fragment.status != 200 {
                    seen.failed.push(format!("{at}: {uri}: {} {}", fragment.status, fragment.text()));
                }
                // An answer that is still being fetched has no entity tag yet: the bytes say it all.
                bodies.push(fragment.body);
            }
            seen.compared += 1;
            if bodies[0] != bodies[1] {
                seen.differing.push(format!("{at}: {uri}: {:?} bytes", [bodies[0].len(), bodies[1].len()]));
            }
            known.insert(uri);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    seen
}

/// The media playlist of a camera, as its players reach it.
pub async fn hls(fleet: &Fleet, stream: &str) -> String {
    let live = fleet.edge.play(&format!("/streams/{stream}/live.m3u8"), fleet.edge.alice()).await;
    beside(&live, "getHLSMediaPlaylist.m3u8?TrackNumber=1")
}

/// The manifest of a camera.
pub async fn dash(fleet: &Fleet, stream: &str) -> String {
    fleet.edge.play(&format!("/streams/{stream}/live.mpd"), fleet.edge.alice()).await
}

impl Seen {
    /// Fails if a player would have noticed anything.
    pub fn assert_unnoticed(&self) {
        assert!(self.failed.is_empty(), "{self:#?}");
        assert!(self.back.is_empty(), "{self:#?}");
        assert!(self.differing.is_empty(), "{self:#?}");
    }
}

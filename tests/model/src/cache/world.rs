//! Every order, as far as chance finds them, in which requests, a fetch, leaving readers and a purge may
//! meet.
//!
//! The code under test is the cache's own: `handle.rs`, `in_flight.rs`, `state.rs`, `writer.rs`. Here are
//! an origin whose content changes, two tiers that are plain maps, and what must hold whatever the order:
//!
//! - a reader that reads to the end has one version of the body, whole;
//! - requests at the same time cost one fetch;
//! - after a purge no tier holds what was there before, and later requests do not get it;
//! - no reader waits for ever (the checker detects that), and no key stays taken.

use super::entry::{Entry, Head, Tier};
use super::fill::handle::{Fill, ReaderHandle};
use super::fill::in_flight::{InFlight, Joined};
use super::fill::state::{Answer, Opening, Read};
use super::key::PurgeTarget;
use super::store::Loaded;
use super::{Key, sync};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use shuttle::future::block_on;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

const KEY: Key = Key(1);
/// A body is so many times its version.
const CHUNKS: usize = 3;

#[derive(Default)]
struct World {
    in_flight: InFlight,
    memory: Mutex<HashMap<u64, Arc<Entry>>>,
    disk: Mutex<HashMap<u64, Arc<Entry>>>,
    version: AtomicU64,
    fetches: AtomicU64,
    /// So many bodies break in the middle.
    faults: AtomicU64,
    /// Bodies come without their length.
    unannounced: bool,
}

fn entry(version: u8) -> Arc<Entry> {
    Arc::new(Entry { key: KEY, expires: Some(Timestamp), body: vec![version; CHUNKS].into() })
}

impl World {
    fn held(&self) -> Option<Arc<Entry>> {
        self.memory.lock().unwrap().get(&KEY.0).cloned()
    }

    fn store(&self, entry: &Arc<Entry>) {
        self.memory.lock().unwrap().insert(KEY.0, Arc::clone(entry));
    }

    /// Asks and reads, at most `most` chunks; what it got if it read to the end.
    fn request(self: &Arc<Self>, most: usize) -> Option<Vec<u8>> {
        if let Some(entry) = self.held() {
            return Some(entry.body.to_vec());
        }
        match self.in_flight.join(KEY, || self.held()) {
            Joined::Held(entry) => Some(entry.body.to_vec()),
            Joined::InProgress(reader) => read(reader, most),
            Joined::Started(fill, reader) => {
                let world = Arc::clone(self);
                let task = thread::spawn(move || world.run(&fill));
                let got = read(reader, most);
                task.join().unwrap();
                got
            }
        }
    }

    /// What `task.rs` does, without tasks and time.
    fn run(&self, fill: &Arc<Fill>) {
        let below = self.disk.lock().unwrap().get(&KEY.0).cloned();
        if let Some(entry) = below {
            fill.answer_from(Tier, Loaded::Whole(entry), |entry| self.store(entry));
        } else {
            for again in [true, false] {
                match self.attempt(fill) {
                    Some(broken) if fill.with(|state, wakes| state.fail(&broken, again, wakes)) => {}
                    _ => break,
                }
            }
        }
        self.in_flight.remove(fill);
        fill.end();
    }

    fn attempt(&self, fill: &Arc<Fill>) -> Option<Broken> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst) as u8;
        let breaks =
            self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        let length = (!self.unannounced).then_some(CHUNKS as u64);
        fill.with(|state, wakes| state.open(Head { length }, Some(Timestamp), wakes));
        for chunk in 0..CHUNKS {
            if sync::lock(&fill.state).abandoned(std::task::Waker::noop()) {
                return None;
            }
            if breaks && chunk == 1 {
                return Some(Broken::Cut("fault".into()));
            }
            fill.with(|state, wakes| state.push(Bytes::from(vec![version]), wakes)).unwrap();
        }
        if !sync::lock(&fill.state).complete().unwrap() {
            return None;
        }
        // Made of what is held, as `task.rs` makes it.
        let body: Vec<u8> = sync::lock(&fill.state).tail(0).into_iter().flatten().collect();
        let entry = Entry { key: KEY, expires: Some(Timestamp), body: body.into() };
        fill.become_whole(Arc::new(entry), |entry| {
            self.store(entry);
            self.disk.lock().unwrap().insert(KEY.0, Arc::clone(entry));
        });
        None
    }

    /// The content changes, and then the old one is purged.
    fn purge(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        let empty = |tier: &Mutex<HashMap<u64, Arc<Entry>>>| tier.lock().unwrap().drain().count();
        self.in_flight.purge(PurgeTarget, || empty(&self.disk), || empty(&self.memory));
    }

    /// What must hold once all is quiet.
    fn quiet(&self) {
        assert!(matches!(self.in_flight.join(KEY, || Some(entry(0))), Joined::Held(_)), "the key is free");
        let version = self.version.load(Ordering::SeqCst) as u8;
        for tier in [&self.memory, &self.disk] {
            for entry in tier.lock().unwrap().values() {
                assert_eq!(entry.body, vec![version; CHUNKS], "what was purged is gone");
            }
        }
    }
}

fn read(reader: ReaderHandle, most: usize) -> Option<Vec<u8>> {
    match block_on(reader.opening()) {
        Opening::Growing(_) => {}
        Opening::Answered(Answer::Stored(_, Loaded::Whole(entry))) => return Some(entry.body.to_vec()),
        Opening::Answered(Answer::Failed(_)) | Opening::Broken(_) => return None,
    }
    let (mut got, mut chunks) = (Vec::new(), VecDeque::new());
    for _ in 0..most {
        let read = block_on(poll_fn(|cx| match reader.read(u64::MAX, &mut chunks, cx) {
            Read::Wait => Poll::Pending,
            read => Poll::Ready(read),
        }));
        chunks.drain(..).for_each(|chunk| got.extend_from_slice(&chunk));
        match read {
            Read::Some | Read::Wait => {}
            Read::End => break,
            Read::Whole(entry) => {
                got.extend_from_slice(&entry.body[got.len()..]);
                break;
            }
            Read::Broken(_) => return None,
        }
    }
    (got.len() == CHUNKS).then_some(got)
}

/// Whole, and of one version.
fn sound(got: &Option<Vec<u8>>) {
    if let Some(got) = got {
        assert!(got.len() == CHUNKS && got.iter().all(|byte| *byte == got[0]), "one version, whole: {got:?}");
    }
}

fn explore(name: &str, scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20_000);
    shuttle::check_random(scenario.clone(), rounds);
    shuttle::check_pct(scenario, rounds, 3);
    println!("{name}: {} orders", 2 * rounds);
}

fn requests(world: &Arc<World>, most: &[usize]) -> Vec<thread::JoinHandle<Option<Vec<u8>>>> {
    most.iter()
        .map(|most| {
            let (world, most) = (Arc::clone(world), *most);
            thread::spawn(move || world.request(most))
        })
        .collect()
}

/// All scenarios.
pub fn explore_all() {
    const ALL: usize = usize::MAX;
    explore("requests at the same time cost one fetch", || {
        let world = Arc::new(World::default());
        for request in requests(&world, &[ALL, ALL, ALL]) {
            assert_eq!(request.join().unwrap(), Some(vec![0; CHUNKS]));
        }
        assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
        world.quiet();
    });
    explore("a purge among requests", || {
        let world = Arc::new(World::default());
        let requests = requests(&world, &[ALL, ALL]);
        world.purge();
        assert_eq!(world.request(ALL), Some(vec![1; CHUNKS]), "a later request gets the new body");
        requests.into_iter().for_each(|request| sound(&request.join().unwrap()));
        world.quiet();
    });
    explore("a purge of what is on the disk", || {
        let world = Arc::new(World::default());
        world.disk.lock().unwrap().insert(KEY.0, entry(0));
        let requests = requests(&world, &[ALL, ALL]);
        world.purge();
        assert_eq!(world.request(ALL), Some(vec![1; CHUNKS]), "a later request gets the new body");
        requests.into_iter().for_each(|request| sound(&request.join().unwrap()));
        world.quiet();
    });
    explore("all leave a body without a length in the middle or at its end", || {
        let world = Arc::new(World { unannounced: true, ..World::default() });
        let requests = requests(&world, &[0, 2, 3]);
        requests.into_iter().for_each(|request| sound(&request.join().unwrap()));
        world.quiet();
    });
    explore("some leave, one stays", || {
        let world = Arc::new(World::default());
        let requests = requests(&world, &[0, 1, ALL]);
        requests.into_iter().for_each(|request| sound(&request.join().unwrap()));
        world.quiet();
    });
    explore("a body that breaks", || {
        let world = Arc::new(World::default());
        world.faults.store(1, Ordering::SeqCst);
        let requests = requests(&world, &[ALL, 1, ALL]);
        requests.into_iter().for_each(|request| sound(&request.join().unwrap()));
        assert!(world.request(ALL).is_some());
        world.quiet();
    });
}

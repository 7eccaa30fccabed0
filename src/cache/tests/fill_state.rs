//! What may happen to a state, in any order.

use super::*;
use crate::kvs::Timestamp;
use http::HeaderValue;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// The `at`-th byte of the body as the given attempt brings it: two attempts never agree.
fn byte(attempt: u8, at: u64) -> u8 {
    (at % 97) as u8 | attempt << 7
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(u64),
    Leave(usize),
    Read(usize, u64),
    Push(usize),
    Stream,
    Fail,
    Finish,
    Charge,
    Purge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![Just(0), 0..20_u64].prop_map(Step::Join),
        2 => (0..6_usize).prop_map(Step::Leave),
        8 => (0..6_usize, 1..9_u64).prop_map(|(who, most)| Step::Read(who, most)),
        8 => (0..9_usize).prop_map(Step::Push),
        1 => Just(Step::Stream),
        1 => Just(Step::Fail),
        1 => Just(Step::Finish),
        1 => Just(Step::Charge),
        1 => Just(Step::Purge),
    ]
}

struct Sitting {
    id: ReaderId,
    start: u64,
    got: Vec<u8>,
    flag: Arc<Flag>,
    waiting: bool,
    over: bool,
}

/// A world of one state, its writer and its readers.
struct World {
    state: FillState,
    attempt: u8,
    written: u64,
    length: Option<u64>,
    streams: bool,
    over: bool,
    readers: Vec<Sitting>,
    writer: Arc<Flag>,
    writer_waits: bool,
}

const ALONE: u64 = 8;
const SHARED: u64 = 16;

impl World {
    fn new(length: Option<u64>) -> Self {
        let mut world = Self {
            state: FillState::new(),
            attempt: 0,
            written: 0,
            length,
            streams: false,
            over: false,
            readers: Vec::new(),
            writer: Arc::default(),
            writer_waits: false,
        };
        world.join(0);
        world.open();
        world
    }

    fn open(&mut self) {
        let head = Head::new(HeaderValue::from_static("a/b"), self.length, Timestamp::from_millis(0));
        self.change(|state, wakes| state.open(head, None, wakes));
        for reader in &self.readers {
            let waker = Waker::from(Arc::clone(&reader.flag));
            assert!(self.state.opening(reader.id, &waker).is_some());
        }
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut FillState, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::new();
        let result = change(&mut self.state, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        result
    }

    fn join(&mut self, start: u64) {
        let Some(id) = self.change(FillState::join) else { return };
        if start > 0 {
            self.change(|state, wakes| state.start_at(id, start, wakes));
        }
        let flag = Arc::default();
        self.readers.push(Sitting { id, start, got: Vec::new(), flag, waiting: false, over: false });
    }

    fn read(&mut self, who: usize, most: u64) {
        let Some(reader) = self.readers.get(who).filter(|reader| !reader.over) else { return };
        let (id, waker) = (reader.id, Waker::from(Arc::clone(&reader.flag)));
        let mut chunks = VecDeque::new();
        let read = self.change(|state, wakes| state.read(id, u64::MAX, most, &mut chunks, &waker, wakes));
        let reader = &mut self.readers[who];
        chunks.iter().for_each(|chunk| reader.got.extend_from_slice(chunk));
        (reader.waiting, reader.over) = match read {
            Read::Some => (false, false),
            Read::Wait => (true, false),
            Read::End | Read::Broken(_) => (false, true),
            Read::Whole(_) => unreachable!("no entry was made"),
        };
        if matches!(read, Read::End) {
            assert!(self.over, "a body that ends well has been finished");
            assert_eq!(
                reader.start.max(reader.start + reader.got.len() as u64),
                self.written.max(reader.start)
            );
        }
    }

    fn has_room(&self) -> bool {
        self.state.has_room(if self.state.is_shared() { SHARED } else { ALONE })
    }

    fn push(&mut self, size: usize) {
        let waker = Waker::from(Arc::clone(&self.writer));
        if self.over || self.state.abandoned(&waker) {
            self.over = true;
            return;
        }
        if !self.has_room() {
            self.writer.0.store(false, Ordering::Relaxed);
            self.writer_waits = true;
            return;
        }
        self.writer_waits = false;
        let left = self.length.map_or(u64::MAX, |length| length - self.written);
        let size = (size as u64).min(left);
        let chunk: Bytes = (self.written..self.written + size).map(|at| byte(self.attempt, at)).collect();
        self.change(|state, wakes| state.push(chunk, wakes)).unwrap();
        self.written += size;
    }

    fn take(&mut self, step: &Step) {
        if matches!(step, Step::Stream | Step::Fail | Step::Finish) {
            // Only the writer does this, so it is not waiting.
            self.writer_waits = false;
        }
        match step {
            Step::Join(start) => self.join(*start),
            Step::Leave(who) if *who < self.readers.len() => {
                let reader = self.readers.remove(*who);
                self.change(|state, wakes| state.leave(reader.id, wakes));
            }
            Step::Leave(_) => {}
            Step::Read(who, most) => self.read(*who, *most),
            Step::Push(size) => self.push(*size),
            Step::Stream => {
                self.streams = true;
                self.change(FillState::stream);
            }
            Step::Fail if !self.over => {
                let broken = Broken::Cut("test".into());
                let again = self.attempt == 0;
                if self.change(|state, wakes| state.fail(&broken, again, wakes)) {
                    (self.attempt, self.written, self.streams) = (1, 0, false);
                    self.open();
                } else {
                    self.over = true;
                }
            }
            Step::Finish if !self.over && self.state.complete().is_ok() => {
                self.over = true;
                self.change(|state, wakes| state.finish(None, wakes));
            }
            Step::Charge => {
                let (waited, lag) = (Duration::from_secs(1), Duration::from_secs(3));
                self.change(|state, wakes| state.charge(waited, lag, wakes));
            }
            Step::Purge => self.state.purge(),
            Step::Fail | Step::Finish => {}
        }
        self.holds();
    }

    fn holds(&mut self) {
        for who in 0..self.readers.len() {
            let reader = &self.readers[who];
            let wrong = |attempt| {
                let got = reader.got.iter().zip(reader.start..);
                got.map(|(got, at)| (*got, byte(attempt, at))).any(|(got, right)| got != right)
            };
            assert!(!wrong(0) || !wrong(1), "bytes of one attempt, in order, without a gap");
            if reader.waiting && !reader.flag.0.load(Ordering::Relaxed) {
                self.read(who, 1);
                assert!(self.readers[who].waiting, "reader {who} was not woken");
            }
        }
        if self.streams {
            assert!(self.state.held() <= self.written, "nothing is held that never came");
        }
        if self.writer_waits && !self.writer.0.load(Ordering::Relaxed) {
            let waker = Waker::from(Arc::clone(&self.writer));
            assert!(!self.state.abandoned(&waker), "the writer was not told that all have left");
            assert!(!self.has_room(), "the writer was not told that there is room");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_happens_readers_get_right_bytes_and_nobody_sleeps_for_ever(
        length in proptest::option::of(0..60_u64), steps in proptest::collection::vec(step(), 0..80)
    ) {
        let mut world = World::new(length);
        steps.iter().for_each(|step| world.take(step));
    }


    #[test]
    fn a_body_that_streams_never_holds_more_than_its_window_and_a_chunk(
        steps in proptest::collection::vec(step(), 0..120)
    ) {
        let mut world = World::new(None);
        world.take(&Step::Stream);
        for step in steps.iter().filter(|step| !matches!(step, Step::Fail)) {
            world.take(step);
            prop_assert!(world.state.held() <= SHARED + 9 + 9, "{} bytes held", world.state.held());
        }
    }
}

fn cut() -> Broken {
    Broken::Cut("test".into())
}

#[test]
fn who_has_had_nothing_gets_the_second_attempt_and_who_has_is_cut() {
    let mut world = World::new(Some(20));
    world.join(0);
    world.push(5);
    world.read(0, 99);
    world.take(&Step::Fail);
    world.push(20);
    world.take(&Step::Finish);
    world.read(0, 99);
    world.read(1, 99);
    assert!(world.readers[0].over && world.readers[0].got.len() == 5);
    assert_eq!(world.readers[1].got, (0..20).map(|at| byte(1, at)).collect::<Vec<_>>());
    assert!(!world.change(|state, wakes| state.fail(&cut(), true, wakes)), "it has come to its end");
}

#[test]
fn nobody_waits_for_a_second_attempt_that_nobody_needs() {
    let mut world = World::new(Some(20));
    world.push(5);
    world.read(0, 99);
    assert!(!world.change(|state, wakes| state.fail(&cut(), true, wakes)));
}

#[test]
fn a_second_attempt_that_promises_something_else_cuts_those_who_know_the_first() {
    let mut world = World::new(Some(20));
    assert!(world.change(|state, wakes| state.fail(&cut(), true, wakes)));
    world.length = Some(21);
    world.attempt = 1;
    world.join(0);
    world.open();
    world.push(21);
    world.take(&Step::Finish);
    world.read(0, 99);
    world.read(1, 99);
    assert_eq!((world.readers[0].got.len(), world.readers[1].got.len()), (0, 21));
}

#[test]
fn more_or_less_than_announced_is_broken() {
    let mut world = World::new(Some(4));
    world.push(3);
    assert!(matches!(world.state.complete(), Err(Broken::Cut(_))));
    let pushed = world.change(|state, wakes| state.push(Bytes::from_static(b"ab"), wakes));
    assert!(matches!(pushed, Err(Broken::Cut(_))));
}

#[test]
fn a_body_that_has_ended_is_stored_whoever_leaves_and_one_that_was_left_before_is_not() {
    for ended in [true, false] {
        let mut state = FillState::new();
        let mut wakes = Wakes::new();
        let reader = state.join(&mut wakes).unwrap();
        let now = Timestamp::from_millis(0);
        let expires = Some(now);
        state.open(Head::new(HeaderValue::from_static("a/b"), None, now), expires, &mut wakes);
        state.push(vec![0; 20].into(), &mut wakes).unwrap();
        if ended {
            assert!(state.complete().unwrap());
        }
        state.leave(reader, &mut wakes);
        // An entry made of nothing would be a short body that looks whole.
        assert_eq!(state.tail(0).len(), usize::from(ended));
        assert_eq!(state.complete().unwrap(), ended);
    }
}

#[test]
fn past_half_a_kept_body_goes_on_without_readers_and_others_stop() {
    for (kept, sent, goes_on) in [(true, 10, true), (true, 9, false), (false, 19, false)] {
        let mut state = FillState::new();
        let mut wakes = Wakes::new();
        let reader = state.join(&mut wakes).unwrap();
        let now = Timestamp::from_millis(0);
        let expires = kept.then_some(now);
        state.open(Head::new(HeaderValue::from_static("a/b"), Some(20), now), expires, &mut wakes);
        state.push(vec![0; sent].into(), &mut wakes).unwrap();
        state.leave(reader, &mut wakes);
        assert_eq!(!state.abandoned(Waker::noop()), goes_on, "{kept} {sent}");
        assert_eq!(state.join(&mut wakes).is_some(), goes_on);
    }
}

#[test]
fn one_who_stalls_is_cut_for_those_who_wait_and_left_in_peace_alone() {
    let lag = Duration::from_secs(3);
    for others in [0, 1] {
        let mut world = World::new(None);
        (0..others).for_each(|_| world.join(0));
        world.take(&Step::Stream);
        for _ in 0..40 {
            world.push(4);
            (1..=others).for_each(|who| world.read(who, 99));
            if world.writer_waits {
                world.change(|state, wakes| state.charge(Duration::from_secs(1), lag, wakes));
            }
        }
        world.read(0, 99);
        assert_eq!(world.readers[0].over, others > 0);
        assert!(others == 0 || world.readers[1].got.len() > 100);
    }
}

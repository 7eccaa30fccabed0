//! Footage fetched ahead of its viewers: the fragments of a range, of which clips, playlists and segments are
//! made.
//!
//! Few jobs run at a time, under the same quotas as callers. A purge of the stream cancels its jobs.
//! Operators begin them on their own listener; there is no caller, so nothing is given out.

use super::{Archive, Error, Failure};
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::kvs::{SelectorType, StreamName, TimeRange, Timestamp};
use crate::upstream::{Located, OnBehalfOf};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// How many run at once; the rest wait.
const AT_ONCE: usize = 2;
/// How many may run or wait.
const QUEUE: usize = 64;
/// How many that have ended are remembered.
const REMEMBERED: usize = 64;
/// A job that misses more fragments ends: its footage is passing its retention.
const MOST_FAILED: u64 = 64;
/// The principal whose turn it takes under KVS's quotas.
const PRINCIPAL: &str = "cache warming";

/// What is being fetched ahead, and what was lately.
#[derive(Clone)]
pub struct Warming(Arc<Jobs>);

struct Jobs {
    jobs: Mutex<(u64, VecDeque<Arc<Job>>)>,
    places: Semaphore,
}

/// One request.
struct Job {
    id: u64,
    stream: StreamName,
    what: &'static str,
    shown: (String, String),
    /// Objects that there are, as far as is known.
    objects: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    state: Mutex<(JobState, Option<AbortHandle>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum JobState {
    Waiting,
    Running,
    Done,
    Failed(String),
    Canceled,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Warming {
    fn default() -> Self {
        let jobs = Mutex::new((0, VecDeque::new()));
        Self(Arc::new(Jobs { jobs, places: Semaphore::new(AT_ONCE) }))
    }
}

/// What is to be fetched.
pub struct Order {
    /// The stream, and where it is served from.
    pub stream: Located,
    /// What viewers will ask for, in the words of the request: `clip` or `hls`.
    pub what: &'static str,
    /// The range in the words of the request, to be shown.
    pub shown: (String, String),
    /// The clock that the range is on.
    pub clock: SelectorType,
    /// The range; without an end, up to now.
    pub range: TimeRange,
}

impl Warming {
    /// Begins to fetch the fragments of a range. Returns what [`Warming::show`] shows of the job.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn begin(&self, archive: Archive, order: Order) -> Result<Value, String> {
        let job = self.admit(&order)?;
        let shown = job.show();
        let (jobs, running) = (self.0.clone(), job.clone());
        let task = spawn_self_ending(async move {
            // Never closed.
            let Ok(_place) = jobs.places.acquire().await else { return };
            running.enter(JobState::Running);
            running.enter(match archive.prewarm(&order, &running).await {
                Ok(()) => JobState::Done,
                Err(problem) => JobState::Failed(problem),
            });
        });
        lock(&job.state).1 = Some(task.abort_handle());
        Ok(shown)
    }

    /// All that run, wait, or ended lately.
    #[must_use]
    pub fn show(&self) -> Value {
        lock(&self.0.jobs).1.iter().map(|job| job.show()).collect()
    }

    /// Ends those of a stream.
    pub fn cancel(&self, stream: &StreamName) {
        for job in &lock(&self.0.jobs).1 {
            let mut state = lock(&job.state);
            if job.stream == *stream && matches!(state.0, JobState::Waiting | JobState::Running) {
                state.0 = JobState::Canceled;
                if let Some(task) = state.1.take() {
                    task.abort();
                }
            }
        }
    }

    fn admit(&self, order: &Order) -> Result<Arc<Job>, String> {
        let mut jobs = lock(&self.0.jobs);
        let open = jobs.1.iter().filter(|job| job.is_open()).count();
        if open >= QUEUE {
            return Err(format!("{open} wait already"));
        }
        while jobs.1.len() - open >= REMEMBERED {
            let Some(oldest) = jobs.1.iter().position(|job| !job.is_open()) else { break };
            jobs.1.remove(oldest);
        }
        jobs.0 += 1;
        let zero = AtomicU64::default;
        let job = Arc::new(Job {
            id: jobs.0,
            stream: order.stream.stream.name().clone(),
            what: order.what,
            shown: order.shown.clone(),
            objects: zero(),
            done: zero(),
            failed: zero(),
            bytes: zero(),
            state: Mutex::new((JobState::Waiting, None)),
        });
        jobs.1.push_back(job.clone());
        Ok(job)
    }
}

impl Job {
    fn is_open(&self) -> bool {
        matches!(lock(&self.state).0, JobState::Waiting | JobState::Running)
    }

    /// A job that was canceled stays so.
    fn enter(&self, next: JobState) {
        let mut state = lock(&self.state);
        if state.0 != JobState::Canceled {
            state.0 = next;
        }
    }

    fn fetched(&self, outcome: Result<u64, String>) {
        match outcome {
            Ok(bytes) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(problem) => {
                let (stream, job) = (&self.stream, self.id);
                tracing::warn!(%stream, job, problem, "an object could not be warmed");
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn count_failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn show(&self) -> Value {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let state = lock(&self.state).0.clone();
        let (word, problem) = match &state {
            JobState::Waiting => ("waiting", None),
            JobState::Running => ("running", None),
            JobState::Done => ("done", None),
            JobState::Failed(problem) => ("failed", Some(problem)),
            JobState::Canceled => ("canceled", None),
        };
        json!({
            "id": self.id, "stream": self.stream.as_str(), "what": self.what,
            "start": self.shown.0, "end": self.shown.1,
            "state": word, "problem": problem, "objects": count(&self.objects), "done": count(&self.done),
            "failed": count(&self.failed), "bytes": count(&self.bytes),
        })
    }
}

impl Archive {
    /// Fetches the list of a range and those of its fragments that are not held. Fragments that KVS does not
    /// have are counted as failed; another failure ends the job.
    async fn prewarm(&self, order: &Order, job: &Job) -> Result<(), String> {
        let problem = |error: Error| error.to_string();
        let now = Timestamp::from(clock::now());
        let on_behalf_of = OnBehalfOf::all_callers(PRINCIPAL);
        let stream = self.describe(&order.stream, || PRINCIPAL.into()).await.map_err(problem)?;
        let range = order.range.start..order.range.end.unwrap_or(now);
        let granted = || Ok(on_behalf_of.clone());
        let listed = self.footage(&stream, order.clock, range, now, granted).await;
        let rows = listed.map_err(problem)?.rows;
        job.objects.store(rows.len() as u64, Ordering::Relaxed);
        let (held, missing): (Vec<_>, Vec<_>) =
            rows.iter().cloned().partition(|row| self.holds_fragment(&stream, &row.number));
        job.done.store(held.len() as u64, Ordering::Relaxed);
        let mut reader = self.fragments_of(&stream, missing.into_iter(), on_behalf_of).patient();
        while let Some(fragment) = reader.next().await {
            job.fetched(match fragment {
                Ok(document) => Ok(document.len() as u64),
                Err(failure) if failure.is_not_found() && job.count_failed() < MOST_FAILED => {
                    Err(problem(failure.into_error()))
                }
                Err(failure) => return Err(problem(Failure::into_error(failure))),
            });
        }
        Ok(())
    }
}

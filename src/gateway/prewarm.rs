//! Footage fetched ahead of its viewers: the fragments of a range, of which clips, playlists and segments are
//! made.
//!
//! Few jobs run at a time, under the same quotas as callers. A purge of the stream cancels its jobs.
//! Operators begin them on their own listener; there is no caller, so nothing is given out.

use super::packaged_playback::PackagedPlayback;
use super::query::Query;
use super::read::read_page;
use super::route::{ClipFile, Page};
use crate::archive::{self, Archive, Failure, PresentedRange};
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::kvs::operations::GetClip;
use crate::kvs::{Call, Protocol, SelectorType, StreamArn, StreamName, StreamRef, TimeRange, Timestamp};
use crate::upstream::{Located, OnBehalfOf, Upstream};
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
    start: String,
    end: String,
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

/// What footage is fetched with.
#[derive(Clone)]
pub struct Prewarm {
    pub(super) upstream: Upstream,
    pub(super) archive: Archive,
    pub(super) packaged: Arc<PackagedPlayback>,
}

impl Warming {
    /// Begins to fetch what `request` names: `{"stream": name or ARN, "start": …, "end": …, "what": "clip" or
    /// "hls"}`; a clip, if it does not say what. Returns what [`Warming::show`] shows of it.
    ///
    /// # Errors
    /// What is wrong with the request, or that too many wait already.
    pub fn begin(&self, with: Prewarm, request: &Value) -> Result<Value, String> {
        let now = Timestamp::from(clock::now());
        let named = text(request, "stream")?;
        let named = match named.starts_with("arn:") {
            true => StreamArn::parse(&named).map(StreamRef::Arn),
            false => StreamName::parse(&named).map(StreamRef::Name),
        };
        let named = named.map_err(|problem| format!("stream {problem}"))?;
        let stream = named.name().clone();
        let (start, end) = (text(request, "start")?, text(request, "end")?);
        let what = if request.get("what").is_some() { text(request, "what")? } else { "clip".to_owned() };
        let (what, page) = match what.as_str() {
            "clip" => ("clip", Page::Clip(stream.clone(), ClipFile::Mp4)),
            "hls" => {
                let protocol = Protocol::Hls;
                ("hls", Page::Play { stream: stream.clone(), protocol, live: false })
            }
            _ => return Err("what must be clip or hls".to_owned()),
        };
        let query = format!("start={start}&end={end}");
        let call = read_page(&page, &Query::from(query.as_str()), now).map_err(|error| error.to_string())?;
        let located = with.upstream.locate(&named).map_err(|error| error.to_string())?;
        let job = self.admit(stream, what, start, end)?;
        let shown = job.show();
        let (jobs, running) = (self.0.clone(), job.clone());
        let task = spawn_self_ending(async move {
            // Never closed.
            let Ok(_place) = jobs.places.acquire().await else { return };
            running.enter(JobState::Running);
            let ended = match call {
                Call::GetClip(GetClip { selector, .. }) => {
                    with.footage(&located, (selector.kind, selector.range), &running, now).await
                }
                call => match call.session().and_then(|session| with.packaged.packages(session)) {
                    Some(PresentedRange { clock, range, .. }) => {
                        with.footage(&located, (clock, range), &running, now).await
                    }
                    // A session is let go without viewers, and what it gave is of no use to the next one.
                    None => {
                        Err("this range is played from a session of KVS: nothing can be fetched ahead"
                            .to_owned())
                    }
                },
            };
            running.enter(match ended {
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

    fn admit(
        &self,
        stream: StreamName,
        what: &'static str,
        start: String,
        end: String,
    ) -> Result<Arc<Job>, String> {
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
            stream,
            what,
            start,
            end,
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
            "start": self.start, "end": self.end,
            "state": word, "problem": problem, "objects": count(&self.objects), "done": count(&self.done),
            "failed": count(&self.failed), "bytes": count(&self.bytes),
        })
    }
}

impl Prewarm {
    /// Fetches the list of a range and those of its fragments that are not held. Fragments that KVS does not
    /// have are counted as failed; another failure ends the job.
    async fn footage(
        &self,
        located: &Located,
        (clock, range): (SelectorType, TimeRange),
        job: &Job,
        now: Timestamp,
    ) -> Result<(), String> {
        let problem = |error: archive::Error| error.to_string();
        let everybody = OnBehalfOf::everybody(PRINCIPAL);
        let stream = self.archive.describe(located, || PRINCIPAL.into()).await.map_err(problem)?;
        let range = range.start..range.end.unwrap_or(now);
        let granted = || Ok(everybody.clone());
        let listed = self.archive.footage(&stream, clock, range, now, granted).await;
        let rows = listed.map_err(problem)?.rows;
        job.objects.store(rows.len() as u64, Ordering::Relaxed);
        let (held, missing): (Vec<_>, Vec<_>) =
            rows.iter().cloned().partition(|row| self.archive.holds_fragment(&stream, &row.number));
        job.done.store(held.len() as u64, Ordering::Relaxed);
        let mut reader = self.archive.fragments_of(&stream, missing.into_iter(), everybody).patient();
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

/// A member of the request: text, or a number of seconds.
fn text(request: &Value, name: &str) -> Result<String, String> {
    match request.get(name) {
        Some(Value::String(text)) if !text.contains(['&', '%', '#']) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(format!("{name} is not what it should be")),
        None => Err(format!(
            "{name} is missing: /cache/warm?stream=NAME-or-ARN&start=…&end=…&what=clip or hls, \
             or the same as JSON"
        )),
    }
}

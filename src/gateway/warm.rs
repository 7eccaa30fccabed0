//! Footage fetched ahead of its viewers: a clip, or what a playback session of a range will ask for.
//!
//! Few at a time and each a few objects at a time, under the same quotas as everybody else; a purge of the stream ends
//! them. Operators ask for it on their own listener; there is no caller, so nothing is given out.

use super::read::{Query, read_page};
use super::route::Page;
use super::{Gateway, Payer};
use crate::kvs::{Call, Protocol, StreamArn, StreamName, StreamRef, Timestamp};
use crate::upstream::Located;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

/// How many run at once; the rest wait.
const AT_ONCE: usize = 2;
/// How many may run or wait.
const QUEUE: usize = 64;
/// How many that have ended are remembered.
const REMEMBERED: usize = 64;
/// How many objects of one are fetched at once.
const ABREAST: usize = 4;
/// Who waits for a place under KVS's quotas.
const NOBODY: &str = "cache warming";

/// What is being fetched ahead, and what was lately.
#[derive(Clone)]
pub struct Warming(Arc<Inner>);

struct Inner {
    jobs: Mutex<(u64, VecDeque<Arc<Job>>)>,
    places: Semaphore,
}

/// One wish.
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
    state: Mutex<(State, Option<AbortHandle>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum State {
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
        Self(Arc::new(Inner { jobs, places: Semaphore::new(AT_ONCE) }))
    }
}

impl Warming {
    /// Begins to fetch what `wish` says: `{"stream": name or ARN, "start": …, "end": …, "what": "clip" or "hls"}`; a clip,
    /// if it does not say what. Gives what [`Warming::show`] shows of it.
    ///
    /// # Errors
    /// What is wrong with the wish, or that too many wait already.
    pub fn begin(&self, gateway: Arc<Gateway>, wish: &Value) -> Result<Value, String> {
        let now = Timestamp::now();
        let named = text(wish, "stream")?;
        let named = match named.starts_with("arn:") {
            true => StreamArn::parse(&named).map(StreamRef::Arn),
            false => StreamName::parse(&named).map(StreamRef::Name),
        };
        let named = named.map_err(|problem| format!("stream {problem}"))?;
        let stream = named.name().clone();
        let (start, end) = (text(wish, "start")?, text(wish, "end")?);
        let what = if wish.get("what").is_some() { text(wish, "what")? } else { "clip".to_owned() };
        let (what, page) = match what.as_str() {
            "clip" => ("clip", Page::Clip(stream.clone())),
            "hls" => {
                let protocol = Protocol::Hls;
                ("hls", Page::Play { stream: stream.clone(), protocol, live: false })
            }
            _ => return Err("what must be clip or hls".to_owned()),
        };
        let query = format!("start={start}&end={end}");
        let call = read_page(&page, &Query::from(query.as_str()), now).map_err(|error| error.to_string())?;
        let located = gateway.upstream.locate(&named).map_err(|error| error.to_string())?;
        let job = self.admit(stream, what, start, end)?;
        let shown = job.show();
        let (inner, running) = (self.0.clone(), job.clone());
        let task = tokio::spawn(async move {
            // Never closed.
            let Ok(_place) = inner.places.acquire().await else { return };
            running.enter(State::Running);
            let ended = match call {
                Call::GetClip(clip) => gateway.warm_clip(&located, &clip, &running).await,
                call => gateway.warm_session(&located, &call, &running, now).await,
            };
            running.enter(match ended {
                Ok(()) => State::Done,
                Err(problem) => State::Failed(problem),
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
            if job.stream == *stream && matches!(state.0, State::Waiting | State::Running) {
                state.0 = State::Canceled;
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
            state: Mutex::new((State::Waiting, None)),
        });
        jobs.1.push_back(job.clone());
        Ok(job)
    }
}

impl Job {
    fn is_open(&self) -> bool {
        matches!(lock(&self.state).0, State::Waiting | State::Running)
    }

    /// A job that was canceled stays so.
    fn enter(&self, next: State) {
        let mut state = lock(&self.state);
        if state.0 != State::Canceled {
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
                tracing::warn!(stream = %self.stream, job = self.id, problem, "an object could not be warmed");
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn show(&self) -> Value {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let state = lock(&self.state).0.clone();
        let (word, problem) = match &state {
            State::Waiting => ("waiting", None),
            State::Running => ("running", None),
            State::Done => ("done", None),
            State::Failed(problem) => ("failed", Some(problem)),
            State::Canceled => ("canceled", None),
        };
        json!({
            "id": self.id, "stream": self.stream.as_str(), "what": self.what, "start": self.start, "end": self.end,
            "state": word, "problem": problem, "objects": count(&self.objects), "done": count(&self.done),
            "failed": count(&self.failed), "bytes": count(&self.bytes),
        })
    }
}

impl Gateway {
    async fn warm_clip(
        &self,
        located: &Located,
        clip: &crate::kvs::operations::GetClip,
        job: &Job,
    ) -> Result<(), String> {
        job.objects.store(1, Ordering::Relaxed);
        let found = self
            .clip_for(located, clip, || Ok((NOBODY.into(), Payer::default())))
            .await
            .map_err(|error| error.to_string())?;
        let mut body = found.entry.body(None);
        let mut bytes = 0;
        while let Some(chunk) = body.next().await {
            bytes += chunk.map_err(|broken| broken.to_string())?.len() as u64;
        }
        job.fetched(Ok(bytes));
        Ok(())
    }

    /// Goes through a session's playlists as a player would, and keeps everything that they list.
    async fn warm_session(
        &self,
        located: &Located,
        call: &Call,
        job: &Arc<Job>,
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(session) = call.session() else { return Err("it is no session".to_owned()) };
        let arn = self.arn(located).await.map_err(|error| error.to_string())?;
        let key = self.session_key(located, &StreamRef::Arn(arn), session, now);
        let resources = self.sessions.resources(&key, now).await.map_err(|error| error.to_string())?;
        job.objects.store(resources.len() as u64, Ordering::Relaxed);
        let mut fetching = JoinSet::new();
        for resource in resources {
            if fetching.len() >= ABREAST
                && let Some(Ok(outcome)) = fetching.join_next().await
            {
                job.fetched(outcome);
            }
            let (sessions, key) = (self.sessions.clone(), key.clone());
            fetching.spawn(async move {
                sessions.warm(&key, &resource, now).await.map_err(|error| error.to_string())
            });
        }
        while let Some(outcome) = fetching.join_next().await {
            job.fetched(outcome.unwrap_or_else(|broken| Err(broken.to_string())));
        }
        Ok(())
    }
}

/// A member of the wish: text, or a number of seconds.
fn text(wish: &Value, name: &str) -> Result<String, String> {
    match wish.get(name) {
        Some(Value::String(text)) if !text.contains(['&', '%', '#']) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(format!("{name} is not what it should be")),
        None => Err(format!(
            "{name} is missing: /cache/warm?stream=NAME-or-ARN&start=…&end=…&what=clip or hls, or the same as JSON"
        )),
    }
}

//! Where an issuer's keys come from, and how they stay current: a file, an address, or OIDC discovery.
//!
//! One task per issuer does all the reading, so two reads never overlap. It reads every `refresh`, twice within `stale_max`
//! at least, sooner after a failure, when the watched file changes, and when a token names a key that is not known. The last is how a stranger
//! could make us hammer the issuer, so it happens at most once per `COOLDOWN`, claimed before the read; whoever comes
//! meanwhile waits for a read under way, or is refused at once. Keys that were good stay until other good ones are
//! here: a failing, empty, oversized or garbled answer changes nothing but the age (`HARDENING.md` "JWT").

use super::config::IssuerConfig;
use super::key_place::Jwks;
use super::keys::{KeySet, LONGEST};
use super::metrics::{IssuerMetrics, Read};
use crate::kvs::strict;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode, Uri};
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Fetches one document. It follows no redirects and reads no body beyond 1 MiB; an error is a sentence for the log.
pub type Fetch = Arc<
    dyn Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send>>
        + Send
        + Sync,
>;

/// Between two reads that unknown keys cause. The promise is 15 s as the issuer's server sees it; the rest is for the
/// way there.
pub(super) const COOLDOWN: Duration = Duration::from_millis(15_500);
/// How long a request waits for a read under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many requests wait at once; a server that hangs must not gather a crowd here.
const MOST_WAITING: usize = 1000;
/// How long one document may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// After a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Why there is nothing to verify with, at first.
const NONE: &str = "none were read yet";
/// Writing a file, or replacing a folder of them, is several events; this is how long they may take.
const SETTLE: Duration = Duration::from_millis(200);

/// The keys of one issuer, kept current by `keep_current`.
pub(super) struct KeyStore {
    config: IssuerConfig,
    current: ArcSwapOption<Current>,
    state: Mutex<State>,
    wake: Notify,
    reads: watch::Sender<u64>,
    generation: Arc<AtomicU64>,
    metrics: IssuerMetrics,
}

/// Keys that were good when they were read.
pub(super) struct Current {
    pub keys: Arc<KeySet>,
    /// Another number means other keys.
    pub generation: u64,
    read: Instant,
    tag: Option<Tag>,
}

/// A document's entity tag, which says nothing about a document elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tag {
    url: Uri,
    etag: HeaderValue,
}

#[derive(Default)]
struct State {
    reading: bool,
    /// Somebody asked for a read now.
    asked: bool,
    /// A key was unknown during the cooldown: read again when it ends.
    missed: bool,
    forced: Option<Instant>,
    /// Why the last read failed, if it did.
    problem: Option<String>,
    /// Reads that failed since one succeeded.
    failures: u32,
    /// Where discovery said last that the keys are.
    jwks_uri: Option<Uri>,
    /// Something in the watched folder changed, and is left to settle.
    settling: bool,
}

impl KeyStore {
    pub fn new(config: IssuerConfig, generation: Arc<AtomicU64>, metrics: IssuerMetrics) -> Self {
        Self {
            config,
            current: ArcSwapOption::empty(),
            state: Mutex::default(),
            wake: Notify::new(),
            reads: watch::Sender::new(0),
            generation,
            metrics,
        }
    }

    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// Whether its keys are read from somewhere, and can therefore change and grow old.
    pub fn is_read(&self) -> bool {
        self.config.secret.is_none()
    }

    /// The keys, unless there are none or they are too old to be trusted.
    pub fn usable(&self) -> Result<Arc<Current>, String> {
        let current = self.current.load_full().ok_or_else(|| self.because(NONE))?;
        self.check_age(&current)?;
        Ok(current)
    }

    /// Which keys `usable` would give, by their number.
    pub fn generation(&self) -> Result<u64, String> {
        let current = self.current.load();
        let current = current.as_ref().ok_or_else(|| self.because(NONE))?;
        self.check_age(current)?;
        Ok(current.generation)
    }

    fn check_age(&self, current: &Current) -> Result<(), String> {
        if self.is_read() {
            let age = current.read.elapsed();
            if age > self.config.stale_max.0 {
                return Err(self.because(&format!("they were last read {} s ago", age.as_secs())));
            }
        }
        Ok(())
    }

    fn because(&self, what: &str) -> String {
        match &self.state().problem {
            Some(problem) => format!("{what} ({problem})"),
            None => what.to_owned(),
        }
    }

    /// A token names a key that is not here: waits for a read under way, or causes one if the cooldown allows.
    pub async fn look_again(&self) {
        if self.reads.receiver_count() > MOST_WAITING {
            return;
        }
        let mut reads = self.reads.subscribe();
        {
            let mut state = self.state();
            let cool = state.forced.is_some_and(|at| at.elapsed() < COOLDOWN);
            if !state.reading && !state.asked {
                if cool {
                    if !std::mem::replace(&mut state.missed, true) {
                        self.wake.notify_one();
                    }
                    return;
                }
                state.forced = Some(Instant::now());
                state.asked = true;
                self.wake.notify_one();
            }
        }
        let _ = timeout(PATIENCE, reads.changed()).await;
    }

    /// Waits for the first read, good or bad.
    pub async fn first_read(&self) {
        let mut reads = self.reads.subscribe();
        let _ = timeout(PATIENCE, reads.wait_for(|count| *count > 0)).await;
    }

    /// Takes over what a store knows whose keys are the same: they, how old they are, and how reading them goes. Other
    /// rules for tokens are no reason to trust the keys less.
    pub fn inherit(&self, other: &Self) {
        if !self.config.has_keys_of(&other.config) {
            return;
        }
        self.current.store(other.current.load_full());
        let (mut ours, theirs) = (self.state(), other.state());
        ours.forced = theirs.forced;
        // What a token has asked for and the other store can no longer tell us.
        ours.missed = theirs.missed || theirs.asked || theirs.reading;
        ours.problem.clone_from(&theirs.problem);
        ours.failures = theirs.failures;
        ours.jwks_uri.clone_from(&theirs.jwks_uri);
    }

    /// Puts keys in place.
    pub fn set(&self, keys: KeySet, tag: Option<Tag>) -> Read {
        let (keys, generation, outcome) = match self.current.load_full() {
            Some(old) if old.keys.same_as(&keys) => (old.keys.clone(), old.generation, Read::Unchanged),
            _ => (Arc::new(keys), self.generation.fetch_add(1, Ordering::AcqRel) + 1, Read::Changed),
        };
        self.keep(Current { keys, generation, read: Instant::now(), tag });
        outcome
    }

    fn keep(&self, current: Current) {
        self.metrics.read_at(current.read);
        self.current.store(Some(Arc::new(current)));
    }

    /// The file's keys, read at once; for the start, when a bad file is a mistake in the settings.
    pub fn read_file(&self, path: &Path) -> Result<(), String> {
        let keys = parse_file(path, &self.config)?;
        self.set(keys, None);
        let mut state = self.state();
        (state.problem, state.failures) = (None, 0);
        Ok(())
    }

    /// Reads again and again, for ever.
    pub async fn keep_current(self: Arc<Self>, fetch: Fetch) {
        let mut due = self.first_due();
        loop {
            self.wait_until(due).await;
            let result = self.read(&fetch).await;
            due = Instant::now() + self.finish(result);
        }
    }

    /// Keys that were inherited are read when they would have been; at once if there are none, or if the last read failed:
    /// new settings may have been made to mend that.
    fn first_due(&self) -> Instant {
        match self.current.load_full() {
            Some(current) if self.state().problem.is_none() => current.read + self.period(),
            _ => Instant::now(),
        }
    }

    /// Between two reads while all is well: early enough that one may fail before the keys are too old.
    fn period(&self) -> Duration {
        self.config.refresh.0.min(self.config.stale_max.0 / 2)
    }

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.period(),
            n => (BACKOFF.0 * 2_u32.pow((n - 1).min(10))).min(BACKOFF.1).min(self.period()),
        }
    }

    async fn wait_until(&self, due: Instant) {
        while let Some(until) = self.begin_or_wait(due) {
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Begins a read that is due, asked for, or owed to a key that was missed during the cooldown; else tells until
    /// when to wait.
    fn begin_or_wait(&self, due: Instant) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let cool_until = state.forced.map_or(now, |at| at + COOLDOWN);
        let owed = state.missed && cool_until <= now;
        if owed {
            state.forced = Some(now);
        }
        if owed || state.asked || due <= now {
            (state.asked, state.missed, state.reading) = (false, false, true);
            return None;
        }
        Some(if state.missed { due.min(cool_until) } else { due })
    }

    /// Notes how a read went and tells who waits for it; how long to pause before the next one.
    fn finish(&self, result: Result<Read, String>) -> Duration {
        let outcome = match &result {
            Ok(outcome) => *outcome,
            Err(_) => Read::Failed,
        };
        self.metrics.count(outcome);
        let failures = {
            let mut state = self.state();
            state.reading = false;
            match (&result, &state.problem) {
                (Err(problem), Some(old)) if problem == old => {}
                (Err(problem), _) => {
                    tracing::warn!(issuer = self.config.issuer, "cannot read the issuer's keys: {problem}");
                }
                (Ok(Read::Changed), _) => {
                    tracing::info!(issuer = self.config.issuer, "the issuer's keys changed")
                }
                (Ok(_), Some(_)) => {
                    tracing::info!(issuer = self.config.issuer, "the issuer's keys can be read again")
                }
                (Ok(_), None) => {}
            }
            state.failures = if result.is_ok() { 0 } else { state.failures.saturating_add(1) };
            state.problem = result.err();
            state.failures
        };
        self.reads.send_modify(|count| *count += 1);
        self.pause(failures)
    }

    async fn read(&self, fetch: &Fetch) -> Result<Read, String> {
        match &self.config.jwks {
            Some(Jwks::File(path)) => {
                let (path, config) = (path.clone(), self.config.clone());
                let keys = tokio::task::spawn_blocking(move || parse_file(&path, &config))
                    .await
                    .map_err(|e| e.to_string())??;
                Ok(self.set(keys, None))
            }
            Some(Jwks::Url(url)) => self.read_url(fetch, url).await,
            None => {
                let url = self.discover(fetch).await?;
                self.read_url(fetch, &url).await
            }
        }
    }

    async fn read_url(&self, fetch: &Fetch, url: &Uri) -> Result<Read, String> {
        let old = self.current.load_full();
        let known = old.as_ref().and_then(|old| old.tag.as_ref()).filter(|tag| tag.url == *url);
        let response = get(fetch, url, known.map(|tag| tag.etag.clone())).await?;
        match (response.status(), &old) {
            (StatusCode::OK, _) => {
                let etag = response.headers().get(ETAG).cloned();
                let keys = KeySet::from_jwks(response.body(), &self.config.algorithms)
                    .map_err(|why| format!("{url}: {why}"))?;
                Ok(self.set(keys, etag.map(|etag| Tag { url: url.clone(), etag })))
            }
            (StatusCode::NOT_MODIFIED, Some(old)) if known.is_some() => {
                let (keys, generation, tag) = (old.keys.clone(), old.generation, old.tag.clone());
                self.keep(Current { keys, generation, read: Instant::now(), tag });
                Ok(Read::Unchanged)
            }
            (status, _) => Err(format!("{url} answered {status}")),
        }
    }

    /// Where the keys are, asked before each read, since an issuer may move them and leave the old ones where they were. While
    /// the question gets no answer, they are where they were last.
    async fn discover(&self, fetch: &Fetch) -> Result<Uri, String> {
        let address =
            format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let address: Uri = address.parse().map_err(|_| format!("{address} is not a valid URL"))?;
        let problem = match get(fetch, &address, None).await {
            Ok(response) if response.status() == StatusCode::OK => match strict::object(response.body()) {
                Ok(document) if response.body().len() <= LONGEST => {
                    let url = self.discovered(&address, &document)?;
                    self.state().jwks_uri = Some(url.clone());
                    return Ok(url);
                }
                _ => format!("{address} is no discovery document"),
            },
            Ok(response) => format!("{address} answered {}", response.status()),
            Err(problem) => problem,
        };
        let known = self.state().jwks_uri.clone();
        if known.is_some() {
            tracing::warn!(issuer = self.config.issuer, "reading the keys where they were last: {problem}");
        }
        known.ok_or(problem)
    }

    /// OpenID Connect Discovery 1.0, section 4: the document must name the very issuer that was asked.
    fn discovered(&self, address: &Uri, document: &Map<String, Value>) -> Result<Uri, String> {
        let issuer = &self.config.issuer;
        let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(format!("{address} is about another issuer"));
        }
        let url = text("jwks_uri").and_then(|url| match Jwks::parse(url) {
            Ok(Jwks::Url(url)) => Some(url),
            _ => None,
        });
        let url = url.ok_or_else(|| format!("{address} names no usable jwks_uri"))?;
        self.config.may_fetch(&url).map_err(|why| format!("jwks_uri {url}: {why}"))?;
        Ok(url)
    }

    /// Reads the file anew when its folder changes. Dropping the watcher ends it.
    pub fn watch(self: &Arc<Self>, path: &Path) -> Result<notify::RecommendedWatcher, String> {
        use notify::{EventKind, RecursiveMode, Watcher};
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (store, runtime) = (Arc::downgrade(self), tokio::runtime::Handle::current());
        let name = path.file_name().map(ToOwned::to_owned);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too.
            if event.is_ok_and(|e| !matches!(e.kind, EventKind::Access(_)) && concerns(&e, name.as_deref()))
                && let Some(store) = store.upgrade()
                && !std::mem::replace(&mut store.state().settling, true)
            {
                runtime.spawn(store.clone().settle());
            }
        })
        .map_err(|e| e.to_string())?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|e| e.to_string())?;
        Ok(watcher)
    }

    /// The file may have changed: not a forced read, so the cooldown does not matter.
    async fn settle(self: Arc<Self>) {
        tokio::time::sleep(SETTLE).await;
        let mut state = self.state();
        (state.settling, state.asked) = (false, true);
        drop(state);
        self.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event in its folder may mean that the file changed. Kubernetes swaps a link beside it, whose name begins with
/// two dots, and touches not the file; when events were lost, none of them names it.
fn concerns(event: &notify::Event, name: Option<&OsStr>) -> bool {
    let is_it = |path: &PathBuf| {
        let changed = path.file_name();
        changed == name || changed.is_some_and(|it| it.as_encoded_bytes().starts_with(b".."))
    };
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(is_it)
}

fn parse_file(path: &Path, config: &IssuerConfig) -> Result<KeySet, String> {
    use std::io::Read as _;
    let problem = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(problem)?;
    let mut document = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut document).map_err(problem)?;
    KeySet::from_jwks(&document, &config.algorithms).map_err(|why| format!("{}: {why}", path.display()))
}

async fn get(fetch: &Fetch, url: &Uri, etag: Option<HeaderValue>) -> Result<Response<Bytes>, String> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.clone();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(etag) = etag {
        request.headers_mut().insert(IF_NONE_MATCH, etag);
    }
    match timeout(DEADLINE, fetch(request)).await {
        Ok(answer) => answer.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url} did not answer within {} s", DEADLINE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{Event, EventKind, Flag, ModifyKind};

    /// Other files may lie in the folder, such as a log that is written to all the time.
    #[test]
    fn only_the_file_and_what_kubernetes_swaps_beside_it_concern_us() {
        let event = |path: &str| Event::new(EventKind::Modify(ModifyKind::Any)).add_path(path.into());
        let concerns = |event| concerns(&event, Some(OsStr::new("jwks.json")));
        assert!(concerns(event("/etc/kvs-edge/jwks.json")));
        assert!(concerns(event("/etc/kvs-edge/..data")));
        assert!(!concerns(event("/etc/kvs-edge/audit.log")));
        assert!(!concerns(event("/etc/kvs-edge/.jwks.json.swp")));
        assert!(concerns(Event::new(EventKind::Other).set_flag(Flag::Rescan)), "events were lost");
    }
}

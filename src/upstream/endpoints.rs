//! Data endpoints: GetDataEndpoint's answers, remembered per entry, stream and API (docs/BEHAVIOUR.md 6).
//!
//! GetDataEndpoint allows five requests a second per stream and is the first quota that is exhausted in
//! practice. So an answer is used for 40 minutes, is renewed in the background after that, and is kept for
//! as long as it works while the control plane is down. A sign that it no longer serves the stream causes
//! one new lookup, shared by all calls that saw that sign at the same time; if the answer is the same,
//! there is no further one for ten seconds. Replicas share the answers (`shared_answers`).

use super::error::Error;
use super::metrics::Metrics;
use super::origin::Origin;
use super::shared_answers::{Aged, Asking};
use crate::base::single_flight::SingleFlight;
use crate::kvs::{ApiName, StreamName};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What an endpoint is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct EndpointKey {
    pub(super) entry: Arc<str>,
    pub(super) stream: StreamName,
    pub(super) api: ApiName,
}

/// An endpoint that KVS gave us.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) origin: Origin,
    since: Instant,
    /// Which it is in the store that replicas share.
    version: u64,
    /// Milliseconds after `since` until which no renewal is needed.
    paused_until: AtomicU64,
}

impl Endpoint {
    fn renewal_is_paused(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        age < Duration::from_millis(self.paused_until.load(Ordering::Relaxed))
    }

    fn pause_renewal(&self, now: Instant, length: Duration) {
        let until = now.saturating_duration_since(self.since) + length;
        self.paused_until.fetch_max(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// One GetDataEndpoint. In a box: it is itself a call, which may need no endpoint.
pub(super) type EndpointLookup = Asking<Aged<Origin>>;

/// The memory.
#[derive(Clone)]
pub(super) struct Endpoints(Arc<EndpointMemory>);

struct EndpointMemory {
    known: moka::sync::Cache<EndpointKey, Arc<Endpoint>>,
    in_flight: SingleFlight<EndpointKey, Result<Arc<Endpoint>, Error>>,
    ttl: Duration,
    metrics: Metrics,
}

/// How long a renewal that failed, or that changed nothing, is not tried again.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// How many endpoints are remembered, and for how long without use.
const MOST: u64 = 200_000;
const UNUSED: Duration = Duration::from_secs(24 * 3600);

impl Endpoints {
    pub(super) fn new(ttl: Duration, metrics: Metrics) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(MOST).time_to_idle(UNUSED).build();
        Self(Arc::new(EndpointMemory { known, in_flight: SingleFlight::default(), ttl, metrics }))
    }

    /// The endpoint, from memory if it is there; `ask` calls KVS, or finds an answer that another replica
    /// got, if it is none of this version or an older one.
    ///
    /// # Errors
    /// KVS's, when there is nothing in memory.
    pub(super) async fn find(
        &self,
        key: &EndpointKey,
        ask: impl FnOnce(u64) -> EndpointLookup,
    ) -> Result<Arc<Endpoint>, Error> {
        let this = &self.0;
        let Some(endpoint) = this.known.get(key) else {
            this.metrics.looked_up("miss");
            return self.ask(key, 0, ask).await;
        };
        let now = Instant::now();
        if now.saturating_duration_since(endpoint.since) < this.ttl {
            this.metrics.looked_up("hit");
        } else {
            this.metrics.looked_up("stale");
            if !endpoint.renewal_is_paused(now) {
                endpoint.pause_renewal(now, RENEWAL_PAUSE);
                drop(this.in_flight.start(key.clone(), || self.renew(key.clone(), ask(endpoint.version))));
            }
        }
        Ok(endpoint)
    }

    /// Looks the endpoint up again because `suspect` does not seem to serve the stream; `sure` if that is
    /// certain. Gives the endpoint to go on with, or `None` if the lookup brought nothing new.
    pub(super) async fn revalidate(
        &self,
        key: &EndpointKey,
        suspect: &Arc<Endpoint>,
        sure: bool,
        ask: impl FnOnce(u64) -> EndpointLookup,
    ) -> Option<Arc<Endpoint>> {
        if let Some(newer) = self.0.known.get(key)
            && newer.since > suspect.since
        {
            return (sure || newer.origin != suspect.origin).then_some(newer);
        }
        if !sure && suspect.renewal_is_paused(Instant::now()) {
            return None;
        }
        let found = self.ask(key, suspect.version, ask).await.ok()?;
        if found.origin == suspect.origin {
            found.pause_renewal(Instant::now(), RENEWAL_PAUSE);
            return sure.then_some(found);
        }
        self.0.metrics.looked_up("moved");
        Some(found)
    }

    /// Forgets everything about a stream, such as one that was deleted.
    pub(super) fn forget(&self, entry: &Arc<str>, stream: &StreamName) {
        for api in ApiName::ALL {
            self.0.known.invalidate(&EndpointKey { entry: entry.clone(), stream: stream.clone(), api });
        }
    }

    async fn ask(
        &self,
        key: &EndpointKey,
        known: u64,
        ask: impl FnOnce(u64) -> EndpointLookup,
    ) -> Result<Arc<Endpoint>, Error> {
        // Runs to its end even if this caller leaves: the answer serves later calls.
        let found =
            self.0.in_flight.start(key.clone(), || self.renew(key.clone(), ask(known))).result().await;
        found.unwrap_or_else(|_| Err(Error::BrokenAnswer("looking up the endpoint failed".into())))
    }

    /// Asks KVS and remembers the answer.
    fn renew(
        &self,
        key: EndpointKey,
        asking: EndpointLookup,
    ) -> impl Future<Output = Result<Arc<Endpoint>, Error>> + Send + use<> {
        let this = Arc::clone(&self.0);
        async move {
            match asking.await {
                Ok(Aged { value: origin, age, version }) => {
                    let now = Instant::now();
                    let since = now.checked_sub(age).unwrap_or(now);
                    let endpoint = Endpoint { origin, since, version, paused_until: AtomicU64::new(0) };
                    let endpoint = Arc::new(endpoint);
                    this.known.insert(key, Arc::clone(&endpoint));
                    Ok(endpoint)
                }
                Err(error) => {
                    this.metrics.looked_up("error");
                    if !error.is_outage() {
                        this.known.invalidate(&key); // KVS says that there is no such stream
                    }
                    Err(error)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::Fault;
    use std::sync::Mutex;

    const TTL: Duration = Duration::from_secs(2400);

    struct Kvs {
        endpoints: Endpoints,
        asked: Arc<AtomicU64>,
        says: Arc<Mutex<Result<&'static str, Error>>>,
    }

    impl Kvs {
        fn new(says: &'static str) -> Self {
            let metrics = crate::upstream::metrics::for_tests(&prometheus::Registry::new());
            let endpoints = Endpoints::new(TTL, metrics);
            Self { endpoints, asked: Arc::default(), says: Arc::new(Mutex::new(Ok(says))) }
        }

        fn say(&self, says: Result<&'static str, Error>) {
            *self.says.lock().unwrap() = says;
        }

        fn ask(&self) -> impl FnOnce(u64) -> EndpointLookup + use<> {
            let (asked, says) = (self.asked.clone(), self.says.clone());
            move |_| {
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    asked.fetch_add(1, Ordering::SeqCst);
                    says.lock().unwrap().clone().map(|url| Aged::new(Origin::parse(url).unwrap()))
                })
            }
        }

        async fn find(&self) -> Result<Arc<Endpoint>, Error> {
            self.endpoints.find(&key(), self.ask()).await
        }

        fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn key() -> EndpointKey {
        EndpointKey {
            entry: "main".into(),
            stream: StreamName::parse("cam-1").unwrap(),
            api: ApiName::GetClip,
        }
    }

    fn not_found() -> Error {
        Error::Kvs(Fault::read(404, Some("ResourceNotFoundException"), None, b"", &[]))
    }

    fn down() -> Error {
        Error::Unreachable("down".into())
    }

    async fn settle() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_viewers_who_come_together_cost_one_call() {
        let kvs = Arc::new(Kvs::new("https://a"));
        let viewers: Vec<_> = (0..100)
            .map(|_| kvs.clone())
            .map(|kvs| tokio::spawn(async move { kvs.find().await.is_ok() }))
            .collect();
        for viewer in viewers {
            assert!(viewer.await.unwrap());
        }
        assert_eq!(kvs.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_endpoint_serves_while_it_is_renewed_and_while_the_control_plane_is_down() {
        let kvs = Kvs::new("https://a");
        kvs.find().await.unwrap();
        tokio::time::advance(TTL).await;
        kvs.say(Err(down()));
        for _ in 0..10 {
            assert_eq!(kvs.find().await.unwrap().origin.host(), "a");
        }
        settle().await;
        assert_eq!(kvs.asked(), 2, "one attempt to renew");
        kvs.find().await.unwrap();
        settle().await;
        assert_eq!(kvs.asked(), 2, "then peace");
        tokio::time::advance(RENEWAL_PAUSE).await;
        kvs.say(Ok("https://b"));
        assert_eq!(kvs.find().await.unwrap().origin.host(), "a", "nobody waits");
        settle().await;
        assert_eq!(kvs.find().await.unwrap().origin.host(), "b");
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_endpoint_is_asked_for_once_by_all_who_doubt() {
        let kvs = Arc::new(Kvs::new("https://a"));
        let old = kvs.find().await.unwrap();
        kvs.say(Ok("https://b"));
        let doubters: Vec<_> = (0..20)
            .map(|_| {
                let (kvs, old) = (kvs.clone(), old.clone());
                tokio::spawn(async move { kvs.endpoints.revalidate(&key(), &old, false, kvs.ask()).await })
            })
            .collect();
        for doubter in doubters {
            assert_eq!(doubter.await.unwrap().unwrap().origin.host(), "b");
        }
        assert_eq!(kvs.asked(), 2);
        let late = kvs.endpoints.revalidate(&key(), &old, true, kvs.ask()).await.unwrap();
        assert_eq!((late.origin.host(), kvs.asked()), ("b", 2), "who doubts late takes what is known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_that_was_wrong_is_not_repeated_for_a_while() {
        let kvs = Kvs::new("https://a");
        let old = kvs.find().await.unwrap();
        assert!(kvs.endpoints.revalidate(&key(), &old, false, kvs.ask()).await.is_none());
        let same = kvs.find().await.unwrap();
        assert!(kvs.endpoints.revalidate(&key(), &same, false, kvs.ask()).await.is_none());
        assert_eq!(kvs.asked(), 2);
        tokio::time::advance(RENEWAL_PAUSE).await;
        assert!(
            kvs.endpoints.revalidate(&key(), &same, true, kvs.ask()).await.is_some(),
            "sure of it: worth a try"
        );
        assert_eq!(kvs.asked(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_gone_is_forgotten_an_outage_forgets_nothing() {
        let kvs = Kvs::new("https://a");
        let old = kvs.find().await.unwrap();
        kvs.say(Err(down()));
        assert!(kvs.endpoints.revalidate(&key(), &old, true, kvs.ask()).await.is_none());
        assert!(kvs.find().await.is_ok());
        kvs.say(Err(not_found()));
        assert!(kvs.endpoints.revalidate(&key(), &old, true, kvs.ask()).await.is_none());
        assert!(matches!(kvs.find().await, Err(Error::Kvs(_))));
    }
}

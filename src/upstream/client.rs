//! The client of KVS as the rest of the program sees it: what it is made of, and its calls.

use super::account::{EntryConfig, check};
use super::answer::Answer;
use super::attempt::Expects;
use super::behalf::OnBehalfOf;
use super::config::Config;
use super::descriptions::Descriptions;
use super::entry::{self, AwsEntry};
use super::error::Error;
use super::metrics::Metrics;
use super::mkv::Chunks;
use super::request::KvsRequest;
use super::shared_answers::SharedAnswers;
use super::{breaker, endpoints, quota, retry};
use crate::aws;
use crate::base::task::OwnedTask;
use crate::fleet::Store;
use crate::kvs::operations::{GetClip, GetMediaForFragmentList};
use crate::kvs::{Call, MediaFormat, StreamRef};
use crate::net::client::{Client, Options};
use crate::setting::Mistake;
use std::sync::Arc;
use std::time::Duration;

/// KVS, as the rest of the program sees it. Clones share everything.
#[derive(Clone)]
pub struct Upstream(pub(super) Arc<UpstreamState>);

/// What all clones share.
pub(super) struct UpstreamState {
    pub(super) config: Config,
    pub(super) entries: Vec<Arc<AwsEntry>>,
    /// The tasks that keep the credentials of the entries fresh.
    _renewals: Vec<OwnedTask>,
    pub(super) client: Client,
    pub(super) endpoints: endpoints::Endpoints,
    pub(super) descriptions: Descriptions,
    /// Endpoints, descriptions and tags that other replicas got.
    pub(super) answers: SharedAnswers,
    pub(super) breakers: breaker::Breakers,
    pub(super) budget: retry::Budget,
    pub(super) quotas: quota::Quotas,
    pub(super) metrics: Metrics,
}

/// A stream, and the entry that serves it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Located {
    /// The `[[aws]]` entry's name.
    pub entry: Arc<str>,
    /// The stream, as the request named it.
    pub stream: StreamRef,
    /// The entry's region.
    pub region: Arc<str>,
    /// The account, as far as it is known.
    pub account: Option<Arc<str>>,
}

/// What a call costs of KVS's quotas, media and metadata points together.
#[must_use]
pub fn points(call: &Call) -> u32 {
    let cost = quota::cost::Cost::of_call(call);
    cost.metadata.saturating_add(cost.media)
}

impl Upstream {
    /// Makes the client. Credentials are fetched in the background at once and kept from then on; until
    /// they are there [`Upstream::problems`] says so, and a call that needs them waits for them. Replicas
    /// with the same `store` keep to KVS's quotas together, and one of them looks endpoints and streams up.
    ///
    /// # Errors
    /// Every mistake of the settings.
    pub async fn start(
        entries: &[EntryConfig],
        config: &Config,
        store: Option<Store>,
        metrics: Metrics,
    ) -> Result<Self, Vec<Mistake>> {
        Self::assemble(entries, config, store, metrics, true).await
    }

    /// As [`Upstream::start`], but fetches no credentials ahead: for checking settings.
    ///
    /// # Errors
    /// As [`Upstream::start`].
    pub async fn look(
        entries: &[EntryConfig],
        config: &Config,
        metrics: Metrics,
    ) -> Result<Self, Vec<Mistake>> {
        Self::assemble(entries, config, None, metrics, false).await
    }

    async fn assemble(
        entries: &[EntryConfig],
        config: &Config,
        store: Option<Store>,
        metrics: Metrics,
        keeps_credentials: bool,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        check(entries, &mut mistakes);
        config.check(&mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let plain =
            entries.iter().any(|e| e.endpoint_url.as_ref().is_some_and(|url| url.starts_with("http://")));
        let options = Options {
            allow_http: plain,
            connect_timeout: config.connect_timeout.0,
            idle: config.idle.0,
            per_host: config.connections,
            // KVS's own names; an `endpoint_url` on loopback is the operator's choice.
            must_not_be_local: |name| name.contains(".kinesisvideo") || name.starts_with("kinesisvideo"),
        };
        let client = client(options, config)?;
        let transport = aws::transport(client.sibling(Options {
            allow_http: true,
            must_not_be_local: |_| false,
            ..options
        }));
        let mut ready = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            // Boxed: AWS's chain is a large future.
            match Box::pin(AwsEntry::new(index, entry, transport.clone(), &metrics)).await {
                Ok(entry) => ready.push(entry),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let renewed = ready.iter().filter(|_| keeps_credentials);
        let renewals = renewed.map(|entry| OwnedTask::spawn(entry.clone().keep_credentials()));
        Ok(Self(Arc::new(UpstreamState {
            _renewals: renewals.collect(),
            entries: ready,
            client,
            endpoints: endpoints::Endpoints::new(config.endpoint_ttl.0, metrics.clone()),
            descriptions: Descriptions::default(),
            answers: SharedAnswers::new(store.clone()),
            breakers: breaker::Breakers::new(config.breaker_failures, config.breaker_pause.0),
            budget: retry::Budget::new(config.retry_budget_percent),
            quotas: quota::Quotas::new(config.queue_wait.0, store, metrics.clone()),
            config: config.clone(),
            metrics,
        })))
    }

    /// `upstream.playlist_deadline`.
    #[must_use]
    pub fn playlist_deadline(&self) -> Duration {
        self.0.config.playlist_deadline.0
    }

    /// Finds the entry that serves a stream: by account and region if an ARN says them, else by name.
    ///
    /// # Errors
    /// [`Error::NotServed`].
    pub fn locate(&self, stream: &StreamRef) -> Result<Located, Error> {
        let entry = entry::locate(&self.0.entries, stream)?;
        Ok(Located {
            entry: entry.name.clone(),
            stream: stream.clone(),
            region: entry.region.clone(),
            account: entry.account().cloned(),
        })
    }

    /// Makes a call about a stream. Its points are charged to the account of `on_behalf_of`, whose
    /// principal waits for its turn where a quota is scarce. For ListStreams use [`Upstream::call_entry`].
    ///
    /// # Errors
    /// As [`Error`] says. Nothing has been passed on then.
    pub async fn call(
        &self,
        located: &Located,
        call: &Call,
        on_behalf_of: &OnBehalfOf,
    ) -> Result<Answer, Error> {
        let entry = self.entry(located)?;
        on_behalf_of.charge(points(call));
        let request = KvsRequest::of_call(&self.0.config, call, on_behalf_of.principal());
        on_behalf_of.note(self.0.ask(entry, &request)).await
    }

    /// Fetches fragments one by one, for a cache that keeps them so. Unlike [`Upstream::call`], which
    /// breaks off at an error chunk, it gives error chunks too, marked as such. A list that begins with one
    /// is requested again for a few seconds.
    ///
    /// # Errors
    /// As [`Upstream::call`]. A list of a single fragment that is not there: [`Error::Kvs`] with status 404.
    pub async fn media(
        &self,
        located: &Located,
        list: &GetMediaForFragmentList,
        on_behalf_of: &OnBehalfOf,
    ) -> Result<Chunks, Error> {
        let entry = self.entry(located)?;
        let call = Call::GetMediaForFragmentList(list.clone());
        on_behalf_of.charge(points(&call));
        let mut request = KvsRequest::of_call(&self.0.config, &call, on_behalf_of.principal());
        request.expects = Expects::Chunks;
        let answer = match on_behalf_of.note(self.0.ask(entry, &request)).await {
            Err(Error::Kvs(fault)) if fault.status == 404 && list.fragments.len() > 1 => {
                request.expects = Expects::Media(MediaFormat::Matroska); // the rest of the list may be there
                on_behalf_of.note(self.0.ask(entry, &request)).await?
            }
            answer => answer?,
        };
        Ok(Chunks::of(answer.body))
    }

    /// Makes a call of an entry rather than a stream: ListStreams.
    ///
    /// # Errors
    /// As [`Upstream::call`]; [`Error::NotServed`] if there is no such entry.
    pub async fn call_entry(
        &self,
        entry: &str,
        call: &Call,
        on_behalf_of: &OnBehalfOf,
    ) -> Result<Answer, Error> {
        let found = self.0.entries.iter().find(|e| &*e.name == entry);
        let entry = found.ok_or_else(|| Error::NotServed(format!("there is no entry {entry}")))?;
        on_behalf_of.charge(points(call));
        let request = KvsRequest::of_call(&self.0.config, call, on_behalf_of.principal());
        on_behalf_of.note(self.0.ask(entry, &request)).await
    }

    /// The names of all entries, in the order of the configuration.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.entries.iter().map(|entry| &entry.name)
    }

    /// What keeps this part from being ready: no entry has credentials.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let problems = self.problems();
        if problems.len() == self.0.entries.len() { problems } else { Vec::new() }
    }

    /// Entries without credentials, whose streams cannot be asked for.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let problem = |entry: &Arc<AwsEntry>| {
            let why = entry.credentials.problem()?;
            Some(format!("aws {}: no credentials: {why}", entry.name))
        };
        self.0.entries.iter().filter_map(problem).collect()
    }

    /// A clip has `fragments` fragments. If it was fetched just now, it was charged for as many as could
    /// start in its range; the rest goes back to the stream's quota, once.
    pub fn settle_clip(&self, located: &Located, clip: &GetClip, fragments: u32) {
        if let Ok(entry) = self.entry(located) {
            self.0.quotas.settle(entry, clip, fragments);
        }
    }

    /// Counts pictures of an answer of GetImages, each of which KVS bills (docs/KVS.md 7).
    pub fn received_images(&self, pictures: usize) {
        self.0.metrics.images(pictures);
    }

    /// The host that must not stand in what a stream's answers are passed on as, besides those that KVS names
    /// itself.
    #[must_use]
    pub fn own_host(&self, located: &Located) -> Option<String> {
        self.entry(located).ok().map(|entry| entry.control.host().to_owned())
    }

    /// Forgets the endpoints of a stream, for example of one that was deleted and created again.
    pub fn forget(&self, located: &Located) {
        self.0.endpoints.forget(&located.entry, located.stream.name());
    }

    pub(super) fn entry(&self, located: &Located) -> Result<&Arc<AwsEntry>, Error> {
        let found = self.0.entries.iter().find(|entry| entry.name == located.entry);
        found.ok_or_else(|| Error::NotServed(format!("there is no entry {}", located.entry)))
    }
}

/// The client that calls go out by.
fn client(options: Options, config: &Config) -> Result<Client, Vec<Mistake>> {
    let Some(ca) = &config.ca else {
        return Client::new(options).map_err(|error| vec![Mistake::at("upstream", error.to_string())]);
    };
    let mistake = |problem: String| vec![Mistake::at("upstream.ca", problem)];
    let pem = ca.read().map_err(mistake)?;
    Client::trusting_also(options, pem.expose()).map_err(|error| mistake(error.to_string()))
}

//! The path of one call to KVS: wait for its turn, find the endpoint, sign, send, check, and retry where
//! that helps.
//!
//! Everything here is bounded by the call's deadline. Dropping the future drops the request in progress.

use super::answer::Answer;
use super::attempt::{AttemptFailure, Received, attempt};
use super::client::UpstreamState;
use super::endpoints::{Endpoint, EndpointKey, EndpointLookup};
use super::entry::AwsEntry;
use super::error::Error;
use super::origin::Origin;
use super::quota::Turn;
use super::request::{Destination, KvsRequest, SMALL_JSON};
use super::retry::{self, Attempts, NextStep, Sent};
use super::shared_answers::{Asking, SharedAnswerName};
use crate::base::clock;
use crate::kvs::operations::GetDataEndpoint;
use crate::kvs::{ApiName, Call, StreamName, StreamRef};
use crate::net::client::Limits;
use aws_credential_types::Credentials;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;

/// What became of one attempt.
struct AttemptOutcome {
    outcome: Result<Received, AttemptFailure>,
    /// Its place under the quotas, to be given back.
    turn: Turn,
    /// What it was signed with, and for which time.
    signed: Option<(Arc<Credentials>, SystemTime)>,
}

impl UpstreamState {
    /// Makes a call, with everything that belongs to it.
    pub(super) async fn ask(
        self: &Arc<Self>,
        entry: &Arc<AwsEntry>,
        request: &KvsRequest,
    ) -> Result<Answer, Error> {
        let deadline = Instant::now() + request.limits.whole;
        let asking = Box::pin(self.send_with_retries(entry, request, deadline));
        tokio::time::timeout_at(deadline, asking).await.unwrap_or(Err(Error::Timeout(request.limits.whole)))
    }

    async fn send_with_retries(
        self: &Arc<Self>,
        entry: &Arc<AwsEntry>,
        request: &KvsRequest,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        self.budget.earn(Instant::now());
        let mut tries = Attempts::default();
        let mut attempts = 0;
        let mut endpoint = match &request.destination {
            Destination::Data { api, stream, .. } => {
                Some(self.endpoint(entry, *api, stream, &request.principal).await?)
            }
            _ => None,
        };
        loop {
            let origin = match (&request.destination, &endpoint) {
                (Destination::Playback { origin, .. }, _) => origin,
                (_, Some(endpoint)) => &endpoint.origin,
                _ => &entry.control,
            };
            attempts += 1;
            let AttemptOutcome { outcome, turn, signed } =
                self.once(entry, origin, request, deadline).await?;
            let failure = match outcome {
                Ok(received) => return Ok(self.answer(request, received, attempts, turn)),
                Err(failure) => failure,
            };
            drop(turn);
            let sent = Sent { data: endpoint.is_some(), signed_at: signed.as_ref().map(|(_, at)| *at) };
            match retry::next(&failure, tries, sent, &self.config) {
                NextStep::Retry { at_most, reason, paid } => {
                    let wait = retry::jittered(at_most, random());
                    if Instant::now() + wait >= deadline || (paid && !self.budget.pay(Instant::now())) {
                        return Err(error(failure));
                    }
                    tokio::time::sleep(wait).await;
                    self.metrics.retried(reason);
                    tries.count(reason);
                }
                NextStep::Resolve { sure } => {
                    tries.moved = true;
                    let (Some(old), Destination::Data { api, stream, .. }) =
                        (&endpoint, &request.destination)
                    else {
                        return Err(error(failure));
                    };
                    let Some(new) =
                        self.revalidate(entry, (*api, stream), &request.principal, old, sure).await
                    else {
                        return Err(error(failure));
                    };
                    endpoint = Some(new);
                    self.metrics.retried(retry::RetryReason::Moved);
                }
                NextStep::Renew => {
                    tries.renewed = true;
                    let Some((keys, _)) = signed else { return Err(error(failure)) };
                    if entry.credentials.renewed(&keys).await.is_err() {
                        return Err(error(failure));
                    }
                    self.metrics.retried(retry::RetryReason::Credentials);
                }
                NextStep::SetClock { kvs_time } => {
                    tries.set_clock = true;
                    entry.set_clock(kvs_time, clock::now());
                    self.metrics.retried(retry::RetryReason::Clock);
                }
                NextStep::Fail => return Err(error(failure)),
            }
        }
    }

    /// One attempt: its turn under the quotas, the breaker's permission, a signature, the request.
    async fn once(
        &self,
        entry: &Arc<AwsEntry>,
        origin: &Origin,
        request: &KvsRequest,
        deadline: Instant,
    ) -> Result<AttemptOutcome, Error> {
        let turn = self.quotas.turn(entry, request, deadline).await?;
        let mut http = request.http(origin)?;
        let signed = match request.destination {
            Destination::Playback { .. } => None,
            _ => Some((entry.credentials.get().await?, entry.time(clock::now()))),
        };
        if let Some((keys, time)) = &signed {
            entry
                .signer
                .sign(&mut http, &request.body, keys, *time)
                .map_err(|e| Error::BrokenAnswer(format!("the request could not be signed: {e}")))?;
        }
        let pass = self
            .breakers
            .pass(origin.authority(), request.api)
            .map_err(|retry_after| Error::CircuitOpen { retry_after })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limits =
            Limits { whole: left, first_byte: request.limits.first_byte.min(left), ..request.limits };
        let sent = Instant::now();
        let (code, outcome) = attempt(&self.client, http, &limits, request.expects).await;
        self.metrics.answered(request.api, code, sent.elapsed());
        match &outcome {
            Err(AttemptFailure::Fault { fault, .. }) if fault.is_trouble() => pass.failed(),
            Err(AttemptFailure::Fault { fault, .. }) => {
                if fault.is_throttle() {
                    self.metrics.throttled(request.api);
                    self.quotas.throttled(entry, request);
                }
                pass.answered();
            }
            Ok(_) | Err(AttemptFailure::WrongHost | AttemptFailure::FragmentNotFound(_)) => pass.answered(),
            Err(_) => pass.failed(),
        }
        Ok(AttemptOutcome { outcome, turn, signed })
    }

    fn answer(&self, request: &KvsRequest, received: Received, attempts: u32, turn: Turn) -> Answer {
        let stream = request.stream.as_ref().map(StreamName::as_str);
        Answer::new(received, attempts, self.metrics.bytes(request.api, stream), turn)
    }

    async fn endpoint(
        self: &Arc<Self>,
        entry: &Arc<AwsEntry>,
        api: ApiName,
        stream: &StreamRef,
        principal: &Arc<str>,
    ) -> Result<Arc<Endpoint>, Error> {
        let key = EndpointKey { entry: entry.name.clone(), stream: stream.name().clone(), api };
        self.endpoints.find(&key, |known| self.endpoint_lookup(entry, api, stream, principal, known)).await
    }

    async fn revalidate(
        self: &Arc<Self>,
        entry: &Arc<AwsEntry>,
        (api, stream): (ApiName, &StreamRef),
        principal: &Arc<str>,
        old: &Arc<Endpoint>,
        sure: bool,
    ) -> Option<Arc<Endpoint>> {
        let key = EndpointKey { entry: entry.name.clone(), stream: stream.name().clone(), api };
        let lookup = |known| self.endpoint_lookup(entry, api, stream, principal, known);
        self.endpoints.revalidate(&key, old, sure, lookup).await
    }

    /// GetDataEndpoint, as work for a single flight. Its answer serves all callers, but the one that needs it
    /// first waits for its own turn. One that another replica got serves too, if it is newer than `known`.
    fn endpoint_lookup(
        self: &Arc<Self>,
        entry: &Arc<AwsEntry>,
        api: ApiName,
        stream: &StreamRef,
        principal: &Arc<str>,
        known: u64,
    ) -> EndpointLookup {
        let (this, entry, principal) = (Arc::clone(self), Arc::clone(entry), principal.clone());
        let stream = stream.clone();
        Box::pin(async move {
            let ask = this.clone().ask_for_endpoint(entry.clone(), api, stream.clone(), principal);
            let name =
                SharedAnswerName { entry: &entry.name, stream: stream.name().as_str(), api: api.as_str() };
            let found = this.answers.get(name, this.config.endpoint_ttl.0, known, ask).await?;
            entry.guard.allow(&found.value).map_err(|why| Error::BrokenAnswer(why.into()))?;
            Ok(found)
        })
    }

    fn ask_for_endpoint(
        self: Arc<Self>,
        entry: Arc<AwsEntry>,
        api: ApiName,
        stream: StreamRef,
        principal: Arc<str>,
    ) -> Asking<Origin> {
        let call = Call::GetDataEndpoint(GetDataEndpoint { stream, api });
        Box::pin(async move {
            let request = KvsRequest::of_call(&self.config, &call, &principal);
            let answer = self.ask(&entry, &request).await?;
            let json = json(answer).await?;
            let url = json.get("DataEndpoint").and_then(|url| url.as_str());
            let origin = url
                .and_then(Origin::parse)
                .ok_or_else(|| Error::BrokenAnswer("GetDataEndpoint gave no endpoint".into()))?;
            entry.guard.allow(&origin).map_err(|why| Error::BrokenAnswer(why.into()))?;
            Ok(origin)
        })
    }
}

/// A small JSON answer, read.
pub(super) async fn json(answer: Answer) -> Result<serde_json::Value, Error> {
    let bytes = answer.bytes(SMALL_JSON).await.map_err(|broken| Error::BrokenAnswer(broken.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|_| Error::BrokenAnswer("it is not JSON".into()))
}

/// A failure that is given up on, in this part's words.
fn error(failure: AttemptFailure) -> Error {
    match failure {
        AttemptFailure::Fault { fault, .. } if fault.is_throttle() => {
            Error::Throttled { retry_after: retry::RETRY_AFTER, message: fault.said }
        }
        AttemptFailure::Fault { fault, .. } => Error::Kvs(fault),
        AttemptFailure::WrongHost => Error::BrokenAnswer("the endpoint does not know the call".into()),
        AttemptFailure::Connect(why) => Error::Unreachable(why),
        AttemptFailure::Reset(why) => Error::Unreachable(why),
        AttemptFailure::Late(limit) => Error::Timeout(limit),
        AttemptFailure::Garbled(why) => Error::BrokenAnswer(why),
        AttemptFailure::Refused(why) => Error::BrokenAnswer(why.into()),
        AttemptFailure::FragmentNotFound(number) => Error::Kvs(crate::kvs::Fault::no_fragment(&number)),
    }
}

/// From 0 to 1, good enough to spread retries.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(Instant::now());
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

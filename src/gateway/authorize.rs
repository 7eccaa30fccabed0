//! Decides whether the caller may have what is requested. Facts that policies read are fetched, policy
//! decides, and the audit log has it before anything is served.

use super::audit::{Audit, Decided, Subject};
use super::authenticated::Authenticated;
use super::error::Error;
use super::permitted::Permitted;
use super::streams::Streams;
use crate::accounting::Record;
use crate::accounting::rates::{self, Allowance, Callers};
use crate::caller::Caller;
use crate::kvs::Request;
use crate::policy::{Policy, Reads, RequestContext, StreamFacts};
use crate::telemetry::spans::Steps;
use crate::upstream::{self, Located, Upstream};
use http::Method;
use http::request::Parts;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Decides whether a caller may have what a request asks for.
pub(super) struct Authorizer {
    pub(super) policy: Arc<Policy>,
    pub(super) upstream: Upstream,
    pub(super) audit: Audit,
    /// What one caller may take.
    pub(super) rates: Arc<rates::Config>,
    /// What callers took.
    pub(super) callers: Callers,
    /// Which stream was meant by a name that none has.
    pub(super) streams: Streams,
}

impl Authorizer {
    /// Turns a caller and a request into a permit and what serving it needs. Every refusal ends here.
    ///
    /// # Errors
    /// No account serves the stream, policy denies, the caller has taken too much, or the audit log cannot be
    /// written.
    pub(super) async fn authorize(
        &self,
        authenticated: Authenticated,
        request: Box<Request>,
        parts: Parts,
        record: &mut Record,
    ) -> Result<Permitted, Error> {
        let subject = Subject::of(&request);
        let located = self.locate(&authenticated, subject, &request, record).await?;
        let allowance = self.callers.of(authenticated.caller(), &self.rates);
        let mut context = context(located.as_ref(), record);
        let absent = self
            .fetch_facts_if_needed(
                &mut context,
                located.as_ref(),
                &request,
                &allowance,
                authenticated.caller(),
            )
            .await?;
        let judged = self.policy.permit(authenticated.caller().clone(), request, &context);
        let decided = self.decided(&authenticated, subject, located.as_ref());
        let receipt = self.audit.decision(&judged, decided, record)?;
        self.audit.written(receipt).await?;
        let permit = judged?;
        if let Some(absent) = absent {
            // What was judged were the facts of a stream with only a name: enough for a 404, not to show
            // footage.
            let (error, caller) = (absent.into(), authenticated.caller());
            return Err(match permit.request().stream() {
                Some(stream) if parts.method != Method::POST => {
                    self.streams.with_similar(error, stream.name(), caller, &context).await
                }
                _ => error,
            });
        }
        record.allowed(matches!(authenticated, Authenticated::Capability(_)));
        record.step("authorize");
        if allowance.bounds_requests() {
            allowance.admit(Instant::now())?;
        }
        if allowance.bounds_bytes() {
            record.allowance = Some(allowance.clone());
        }
        let (capability, key) = match authenticated {
            Authenticated::Capability(capability) => (Some(capability), None),
            Authenticated::Token(_, key) => (None, Some(key)),
            Authenticated::Anonymous(_) => (None, None),
        };
        let (now, steps, described) = (record.at, record.steps(), OnceLock::new());
        Ok(Permitted { permit, capability, key, located, context, parts, now, allowance, steps, described })
    }

    /// Charges a request that comes before anybody is known to its address, as one of an anonymous caller.
    ///
    /// # Errors
    /// The address makes too many.
    pub(super) fn admit_stranger(&self, record: &Record) -> Result<(), Error> {
        let stranger = Arc::new(Caller::anonymous(record.client, record.at));
        Ok(self.callers.of(&stranger, &self.rates).admit(Instant::now())?)
    }

    /// Finds the account that serves the stream; one that none serves is refused, and audited.
    async fn locate(
        &self,
        authenticated: &Authenticated,
        subject: Subject,
        request: &Request,
        record: &Record,
    ) -> Result<Option<Located>, Error> {
        match request.stream().map(|stream| self.upstream.locate(stream)).transpose() {
            Ok(located) => Ok(located),
            Err(error) => {
                let receipt = self.audit.not_served(self.decided(authenticated, subject, None), record)?;
                self.audit.written(receipt).await?;
                Err(error.into())
            }
        }
    }

    fn decided<'a>(
        &'a self,
        by: &'a Authenticated,
        subject: Subject,
        located: Option<&'a Located>,
    ) -> Decided<'a> {
        Decided { by, subject, located, policy_version: self.policy.version() }
    }

    /// Asks KVS for facts that policies read, unless nothing permits the request whatever they are. What
    /// cannot be learnt stays unknown, which permits nothing. If there is no such stream, returns KVS's words
    /// for that, for those who may do this with a stream that has nothing but its name.
    ///
    /// # Errors
    /// The caller's account is overdrawn.
    async fn fetch_facts_if_needed(
        &self,
        context: &mut RequestContext,
        located: Option<&Located>,
        request: &Request,
        allowance: &Allowance,
        caller: &Arc<Caller>,
    ) -> Result<Option<upstream::Error>, Error> {
        let reads = self.policy.reads_for(request.operation());
        if !context.lacks(reads) || self.policy.is_denied_whatever_the_facts(caller, request, context) {
            return Ok(None);
        }
        let (Some(facts), Some(located)) = (&mut context.stream, located) else { return Ok(None) };
        match self.fetch_facts(facts, located, reads, allowance, caller).await? {
            Ok(()) => {}
            Err(upstream::Error::Kvs(fault)) if fault.is_not_found() => {
                facts.assume_bare(&located.stream);
                return Ok(Some(upstream::Error::Kvs(fault)));
            }
            Err(error) => {
                let stream = &facts.name;
                tracing::warn!(%stream, "cannot learn what policies read of the stream: {error}");
            }
        }
        Ok(None)
    }

    async fn fetch_facts(
        &self,
        facts: &mut StreamFacts,
        located: &Located,
        reads: Reads,
        allowance: &Allowance,
        caller: &Caller,
    ) -> Result<Result<(), upstream::Error>, Error> {
        let overdrawn = AtomicBool::new(false);
        // Called only if KVS must be: what is remembered costs nothing.
        let on_behalf_of = || match allowance.check_points(Instant::now()) {
            Ok(()) => Some(allowance.on_behalf_of(caller, Steps::default(), Arc::default())),
            Err(_) => {
                overdrawn.store(true, Ordering::Relaxed);
                None
            }
        };
        let learnt = async {
            if reads.arn || (reads.account && facts.account.is_none()) {
                let description = self.upstream.identify(located, on_behalf_of).await?;
                facts.account = Some(description.arn.account().into());
                facts.arn = Some(description.arn.clone());
            }
            if reads.tags {
                facts.tags = Some(self.upstream.tags(located, on_behalf_of).await?.as_ref().clone());
            }
            Ok(())
        };
        let learnt = learnt.await;
        if learnt.is_err() && overdrawn.into_inner() {
            allowance.check_points(Instant::now())?;
        }
        Ok(learnt)
    }
}

/// What policy may look at besides the caller and the request, as far as it is known without asking.
fn context(located: Option<&Located>, record: &Record) -> RequestContext {
    let stream = located.map(|located| StreamFacts {
        name: located.stream.name().clone(),
        region: located.region.clone(),
        account: located.account.clone(),
        arn: None,
        tags: None,
    });
    RequestContext { now: record.at, source_ip: record.client, stream }
}

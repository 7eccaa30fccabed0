//! What the audit log says of a request: each decision that is not a repeat, and who watches what.
//!
//! A player repeats the decision of its session call several times a second. Of those only refusals are
//! written, and the watching itself, by `audit::Viewings`.

use super::authenticated::Authenticated;
use super::error::Error;
use crate::accounting::{Record, Viewing};
use crate::kvs::{
    Operation, PackagedPart, PackagedResource, PlaybackMode, Request, Resource, SessionParameters,
};
use crate::playback::{LinkFile, OpenedCapability, Opens};
use crate::policy::{Denied, Permit, Severity, named_by_number};
use crate::sessions::{SessionKey, Sessions, ViewerId};
use crate::telemetry::audit::{
    Decision, Event, PlaybackRefusal, Receipt, Sink, StreamLocation, Viewer, Viewings,
};
use crate::upstream::Located;
use std::sync::Arc;

/// The audit log, as the steps of a request write to it. Clones share it.
#[derive(Clone)]
pub struct Audit {
    /// Where the lines go.
    pub sink: Arc<Sink>,
    /// Who watches now.
    pub watch: Arc<Viewings>,
}

/// Reasons for refusals that are not policy's.
const NOT_SERVED: &str = "not_served";
const CAPABILITY: &str = "capability";

/// What a decision was about, taken before policy takes the request.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    action: &'static str,
    mode: Option<PlaybackMode>,
}

impl Subject {
    pub(super) fn of(request: &Request) -> Self {
        Self { action: request.operation().name(), mode: request.mode() }
    }

    fn of_capability(capability: &OpenedCapability) -> Self {
        match &capability.opens {
            Opens::Session(session) => {
                Self { action: Operation::of_session(session.protocol).name(), mode: Some(session.mode) }
            }
            Opens::Link(link) => {
                let operation = match link.file {
                    LinkFile::Mp4Clip | LinkFile::MatroskaClip => Operation::GetClip,
                    LinkFile::Snapshot | LinkFile::PngSnapshot => Operation::GetImages,
                };
                Self { action: operation.name(), mode: None }
            }
        }
    }
}

/// One decision that has been made: about what, by which policies.
#[derive(Clone, Copy)]
pub(super) struct Decided<'a> {
    pub(super) by: &'a Authenticated,
    pub(super) subject: Subject,
    pub(super) located: Option<&'a Located>,
    pub(super) policy_version: &'a Arc<str>,
}

impl Audit {
    /// Writes policy's decision. The receipt is waited for before anything is served ([`Audit::written`]).
    ///
    /// # Errors
    /// The log cannot be written, and it is required.
    pub(super) fn decision(
        &self,
        judged: &Result<Permit, Denied>,
        decided: Decided<'_>,
        record: &Record,
    ) -> Result<Receipt, Error> {
        if judged.is_ok() && decided.by.plays() {
            // Watching is written elsewhere, but nothing may be shown that could not be written.
            return self.sink.ready().map(|()| Receipt::nothing()).map_err(|_| Error::Audit);
        }
        let against: Arc<[Arc<str>]>;
        let (outcome, policies, request, severity) = match judged {
            Ok(permit) => (Ok(()), permit.decided_by(), permit.request(), permit.severity()),
            Err(denied) => {
                against = denied.reason().policies().into();
                (Err(denied.reason().as_str()), &against, denied.request(), denied.severity())
            }
        };
        let severity = severity.map(Severity::as_str);
        let range = record.range.or_else(|| named_by_number(request, record.at));
        let place =
            decided.located.map(|at| StreamLocation { region: &at.region, account: at.account.as_ref() });
        let line = line(decided, record, outcome, policies);
        self.write(&Decision { range, place, severity, ..line }, decided.by, record)
    }

    /// Writes that a request names a stream which no account serves.
    ///
    /// # Errors
    /// The log cannot be written, and it is required.
    pub(super) fn not_served(&self, decided: Decided<'_>, record: &Record) -> Result<Receipt, Error> {
        let no_policies = Arc::new([]) as Arc<[Arc<str>]>;
        self.write(&line(decided, record, Err(NOT_SERVED), &no_policies), decided.by, record)
    }

    /// Writes that a good capability was shown by another client than it was given to, or after its policies
    /// changed.
    pub(super) fn capability_refused(
        &self,
        capability: &Arc<OpenedCapability>,
        policy_version: &Arc<str>,
        record: &mut Record,
    ) {
        record.caller = Some(capability.caller.clone());
        record.stream = Some(capability.stream.name().clone());
        let by = Authenticated::Capability(capability.clone());
        let subject = Subject::of_capability(capability);
        let decided = Decided { by: &by, subject, located: None, policy_version };
        let no_policies = Arc::new([]) as Arc<[Arc<str>]>;
        // The request is refused whether this can be written or not.
        let _ = self.write(&line(decided, record, Err(CAPABILITY), &no_policies), &by, record);
    }

    /// Writes a decision, unless a player repeats what was written a moment ago.
    fn write(&self, decision: &Decision<'_>, by: &Authenticated, record: &Record) -> Result<Receipt, Error> {
        if let (Authenticated::Capability(capability), Err(reason)) = (by, decision.outcome) {
            let viewing = capability.viewing.clone();
            let refusal = PlaybackRefusal { viewing, source_ip: record.client, reason };
            if !self.watch.refused(refusal.clone(), record.at) {
                return Ok(Receipt::nothing());
            }
            return self.sink.decided(decision, record.at).map_err(|_| {
                self.watch.refusal_not_written(&refusal);
                Error::Audit
            });
        }
        self.sink.decided(decision, record.at).map_err(|_| Error::Audit)
    }

    /// Waits until a line has been written, where the log is required.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) async fn written(&self, receipt: Receipt) -> Result<(), Error> {
        if receipt.is_due() {
            self.sink.written(receipt).await.map_err(|_| Error::Audit)?;
        }
        Ok(())
    }

    /// Writes who watches: the start, and a line each minute.
    ///
    /// # Errors
    /// The log cannot be written, and it is required.
    pub(super) fn watched(
        &self,
        capability: &OpenedCapability,
        session: &SessionParameters,
        policy_version: &Arc<str>,
        record: &Record,
    ) -> Result<Receipt, Error> {
        let Some(stream) = &record.stream else { return Ok(Receipt::nothing()) };
        let viewer = || Viewer {
            viewing: capability.viewing.clone(),
            caller: capability.caller.clone(),
            source_ip: record.client,
            protocol: session.protocol.as_str(),
            stream: stream.clone(),
            mode: session.mode,
            policy_version: policy_version.clone(),
        };
        let write = |event: &Event<'_>| self.sink.write(event, record.at);
        let written = self.watch.asked(&capability.viewing, record.client, record.at, viewer, write);
        written.map(|receipt| receipt.unwrap_or(Receipt::nothing())).map_err(|_| Error::Audit)
    }

    /// Where the bytes of a resource count once they have left.
    pub(super) fn viewing(
        &self,
        capability: &OpenedCapability,
        sessions: &Sessions,
        key: SessionKey,
        resource: &Resource,
        record: &Record,
    ) -> Viewing {
        let footage = match resource {
            Resource::Mp4Fragment { number, .. } | Resource::TsFragment { number } => {
                number.server_time(record.at)
            }
            Resource::Packaged(PackagedResource { part: PackagedPart::Media, address, .. }) => {
                Some(address.time)
            }
            _ => None,
        };
        Viewing {
            counts: self.watch.begins(&capability.viewing, record.client),
            watch: self.watch.clone(),
            sessions: sessions.clone(),
            key,
            viewer: ViewerId::from(capability.viewer),
            viewing: capability.viewing.clone(),
            source_ip: record.client,
            footage,
        }
    }
}

fn line<'a>(
    decided: Decided<'a>,
    record: &'a Record,
    outcome: Result<(), &'static str>,
    policies: &'a Arc<[Arc<str>]>,
) -> Decision<'a> {
    Decision {
        request_id: &record.request_id,
        caller: decided.by.caller(),
        source_ip: record.client,
        action: decided.subject.action,
        stream: record.stream.as_ref(),
        place: None,
        mode: decided.subject.mode,
        range: record.range,
        outcome,
        policies,
        severity: None,
        policy_version: decided.policy_version,
        repeats: 1,
    }
}

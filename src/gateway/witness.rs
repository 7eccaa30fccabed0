//! What the audit log is told: each decision that is not a repeat, and who watches what.
//!
//! A player repeats the decision of its session call several times a second; of those only refusals are told, and
//! the watching itself, by `audit::Watch`.

use super::Gateway;
use super::authenticate::Authenticated;
use super::error::Error;
use super::players::Player;
use super::record::Record;
use crate::caller::Caller;
use crate::kvs::{Operation, Request, Resource, Timestamp};
use crate::policy::{Denied, Permit, named_by_number, server_time};
use crate::sessions::{SessionKey, Sessions, ViewerId};
use crate::telemetry::audit::{Decision, Place, Receipt, Refusal, Sink, Viewer, Watch};
use crate::upstream::Located;
use std::net::IpAddr;
use std::sync::Arc;

/// Where decisions and watching are written down.
#[derive(Clone)]
pub struct Witness {
    /// The log.
    pub sink: Arc<Sink>,
    /// Who is watching now.
    pub watch: Arc<Watch>,
}

/// Reasons for refusals that are not policy's.
const NOT_SERVED: &str = "not_served";
const CAPABILITY: &str = "capability";

impl Gateway {
    /// Tells of a decision. What comes back is to be waited for before anything is served ([`Gateway::told`]).
    pub(super) fn tell(
        &self,
        judged: &Result<Permit, Denied>,
        who: &Authenticated,
        told: &Told,
        located: Option<&Located>,
        record: &Record,
    ) -> Result<Receipt, Error> {
        if judged.is_ok() && matches!(who, Authenticated::Player(_)) {
            // Watching is told of elsewhere, but nothing may be shown that could not be told.
            return self.witness.sink.ready().map(|()| Receipt::nothing()).map_err(|_| Error::Audit);
        }
        let against: Arc<[Arc<str>]>;
        let (outcome, policies, request) = match judged {
            Ok(permit) => (Ok(()), permit.decided_by(), permit.request()),
            Err(denied) => {
                against = denied.reason().policies().into();
                (Err(denied.reason().as_str()), &against, denied.request())
            }
        };
        let range = record.range.or_else(|| named_by_number(request, record.at));
        let place = located.map(|at| Place { region: &at.region, account: at.account.as_ref() });
        let decision = self.decision(who.caller(), told, record, outcome, policies);
        self.decided(&Decision { range, place, ..decision }, who, record)
    }

    /// Tells of a request that names a stream which no account serves: another account's or region's, or nobody's.
    pub(super) fn tell_unserved(
        &self,
        who: &Authenticated,
        told: &Told,
        record: &Record,
    ) -> Result<Receipt, Error> {
        let nobody = Arc::new([]) as Arc<[Arc<str>]>;
        let decision = self.decision(who.caller(), told, record, Err(NOT_SERVED), &nobody);
        self.decided(&decision, who, record)
    }

    /// Tells of a capability that is good and is shown by somebody else than it was given to, or too late.
    pub(super) fn tell_misplaced(&self, player: &Arc<Player>, record: &mut Record) {
        record.caller = Some(player.caller.clone());
        record.stream = Some(player.stream.name().clone());
        let session = &player.session;
        let told = Told { action: Operation::of_session(session.protocol).name(), mode: Some(session.mode) };
        let nobody = Arc::new([]) as Arc<[Arc<str>]>;
        let decision = self.decision(&player.caller, &told, record, Err(CAPABILITY), &nobody);
        let who = Authenticated::Player(player.clone());
        // It is refused whether it can be told or not.
        let _ = self.decided(&decision, &who, record);
    }

    fn decision<'a>(
        &'a self,
        caller: &'a Arc<Caller>,
        told: &Told,
        record: &'a Record,
        outcome: Result<(), &'static str>,
        policies: &'a Arc<[Arc<str>]>,
    ) -> Decision<'a> {
        Decision {
            request_id: &record.request_id,
            caller,
            source_ip: record.client,
            action: told.action,
            stream: record.stream.as_ref(),
            place: None,
            mode: told.mode,
            range: record.range,
            outcome,
            policies,
            policy_version: self.policy.version(),
            repeats: 1,
        }
    }

    /// Writes a decision down, unless a player repeats what was told a moment ago.
    fn decided(
        &self,
        decision: &Decision<'_>,
        who: &Authenticated,
        record: &Record,
    ) -> Result<Receipt, Error> {
        let witness = &self.witness;
        if let (Authenticated::Player(player), Err(reason)) = (who, decision.outcome) {
            let refusal = Refusal { viewing: player.viewing.clone(), source_ip: record.client, reason };
            if !witness.watch.refused(refusal.clone(), record.at) {
                return Ok(Receipt::nothing());
            }
            return witness.sink.decided(decision, record.at).map_err(|_| {
                witness.watch.untold(&refusal);
                Error::Audit
            });
        }
        witness.sink.decided(decision, record.at).map_err(|_| Error::Audit)
    }

    /// Waits until what was told has been written, where the log is required.
    pub(super) async fn told(&self, receipt: Receipt) -> Result<(), Error> {
        self.witness.sink.written(receipt).await.map_err(|_| Error::Audit)
    }

    /// Where the bytes of a resource count once they have left.
    pub(super) fn viewing(
        &self,
        player: &Player,
        key: &SessionKey,
        viewer: ViewerId,
        resource: &Resource,
        record: &Record,
    ) -> Viewing {
        let number = match resource {
            Resource::Mp4Fragment { number, .. } | Resource::TsFragment { number } => Some(number),
            _ => None,
        };
        let footage = number.and_then(|number| server_time(number, record.at));
        let counts = self.witness.watch.begins(&player.viewing, record.client);
        Viewing {
            watch: self.witness.watch.clone(),
            counts,
            sessions: self.sessions.clone(),
            key: key.clone(),
            viewer,
            viewing: player.viewing.clone(),
            source_ip: record.client,
            footage,
        }
    }

    /// Tells that somebody watches: the start, and a line each minute.
    pub(super) fn watched(
        &self,
        player: &Player,
        caller: &Arc<Caller>,
        record: &Record,
    ) -> Result<Receipt, Error> {
        let Some(stream) = record.stream.clone() else { return Ok(Receipt::nothing()) };
        let viewer = Viewer {
            viewing: player.viewing.clone(),
            caller: caller.clone(),
            source_ip: record.client,
            protocol: player.session.protocol.as_str(),
            stream,
            mode: player.session.mode,
            policy_version: self.policy.version().clone(),
        };
        let sink = &self.witness.sink;
        self.witness
            .watch
            .asked(&viewer, record.at, |event| sink.write(event, record.at))
            .map(|receipt| receipt.unwrap_or(Receipt::nothing()))
            .map_err(|_| Error::Audit)
    }
}

/// What a decision was about, taken before policy takes the request.
pub struct Told {
    action: &'static str,
    mode: Option<crate::kvs::PlaybackMode>,
}

impl Told {
    /// Of this request.
    pub fn of(request: &Request) -> Self {
        Self { action: request.operation().name(), mode: request.mode() }
    }
}

/// Counts media bytes towards a viewing when they have left. As long as it lives, the viewing has not ended.
pub struct Viewing {
    watch: Arc<Watch>,
    /// The viewing knows of it.
    counts: bool,
    sessions: Sessions,
    key: SessionKey,
    viewer: ViewerId,
    viewing: Arc<str>,
    source_ip: IpAddr,
    footage: Option<Timestamp>,
}

impl Viewing {
    /// So many bytes left.
    pub fn shown(&self, bytes: u64) {
        // An answer without any, to HEAD or to who has left, showed no footage.
        if bytes > 0 {
            self.watch.shown(&self.viewing, self.source_ip, bytes, self.footage);
        }
        self.sessions.count_bytes(&self.key, self.viewer, bytes);
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        if self.counts {
            self.watch.ends(&self.viewing, self.source_ip, Timestamp::now());
        }
    }
}

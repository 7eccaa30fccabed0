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
use crate::gateway::KvsOrigin;
use crate::kvs::{Request, Resource, Timestamp};
use crate::policy::{Denied, Permit, server_time};
use crate::sessions::{SessionKey, Sessions, ViewerId};
use crate::telemetry::audit::{Decision, Receipt, Repeats, Sink, Viewer, Watch};
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

impl Gateway {
    /// Tells of a decision. What comes back is to be waited for before anything is served ([`Gateway::told`]).
    pub(super) fn tell(
        &self,
        judged: &Result<Permit, Denied>,
        who: &Authenticated,
        request: &Told,
        repeats: &mut Repeats,
        record: &Record,
    ) -> Result<Receipt, Error> {
        if let Authenticated::Player(player) = who {
            if judged.is_ok() {
                // Watching is told of elsewhere, but nothing may be shown that could not be told.
                return self.witness.sink.ready().map(|()| Receipt::nothing()).map_err(|_| Error::Audit);
            }
            if !self.witness.watch.refused(&player.viewing, record.client, record.at) {
                return Ok(Receipt::nothing());
            }
        }
        let against: Arc<[Arc<str>]>;
        let (outcome, policies) = match judged {
            Ok(permit) => (Ok(()), permit.decided_by()),
            Err(denied) => {
                against = denied.reason().policies().into();
                (Err(denied.reason().as_str()), &against)
            }
        };
        let decision = Decision {
            request_id: &record.request_id,
            caller: who.caller(),
            source_ip: record.client,
            action: request.action,
            stream: record.stream.as_ref(),
            mode: request.mode,
            range: record.range,
            outcome,
            policies,
            policy_version: self.policy.version(),
            repeats: 1,
        };
        self.witness.sink.decided(&decision, record.at, repeats).map_err(|_| Error::Audit)
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
        Viewing {
            watch: self.witness.watch.clone(),
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

/// Counts media bytes towards a viewing when they have left.
#[derive(Clone)]
pub struct Viewing {
    watch: Arc<Watch>,
    sessions: Arc<Sessions<KvsOrigin>>,
    key: SessionKey,
    viewer: ViewerId,
    viewing: Arc<str>,
    source_ip: IpAddr,
    footage: Option<Timestamp>,
}

impl Viewing {
    /// So many bytes left.
    pub fn shown(&self, bytes: u64) {
        self.watch.shown(&self.viewing, self.source_ip, bytes, self.footage);
        self.sessions.watching(&self.key, self.viewer, bytes);
    }
}

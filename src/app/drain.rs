//! Ends the program in order: readiness fails at once, new work is accepted for a while, connections end as
//! they become idle, and what is held in memory is written.

use super::admin_thread::Ended;
use super::program::App;
use super::signals::stop_signal;
use crate::base::clock;
use crate::kvs::Timestamp;
use crate::net::drain::{Drain, Phase};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long the end of the process waits for the disk tier, which is never more than 32 MiB behind.
const DISK_DEADLINE: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the admin listener to close its connections.
const ADMIN_DEADLINE: Duration = Duration::from_secs(2);
/// How long the end of the process waits for the audit log.
const AUDIT_DEADLINE: Duration = Duration::from_secs(2);

/// The listeners of a running program. Dropping it closes every connection.
pub(super) struct Serving {
    pub(super) drain: Drain,
    pub(super) listeners: JoinSet<()>,
    pub(super) operators: Ended,
    pub(super) housekeeping: JoinSet<()>,
}

impl Serving {
    /// Drains and ends.
    pub(super) async fn end(self, app: &App) {
        let server = app.config().server.clone();
        tracing::info!(grace = %server.drain_grace, timeout = %server.drain_timeout, "draining");
        let Self { drain, mut listeners, operators, mut housekeeping } = self;
        let gone = async { while listeners.join_next().await.is_some() {} };
        tokio::select! {
            () = drain.run(server.drain_grace.0, server.drain_timeout.0, stop_signal()) => {}
            () = gone => {}
        }
        // Operators are answered until the last client has gone.
        drain.advance(Phase::Ended);
        listeners.shutdown().await;
        housekeeping.shutdown().await;
        // The thread ends by itself; an error is that it has.
        let _ = tokio::time::timeout(ADMIN_DEADLINE, operators).await;
        save(app).await;
        tracing::info!("ended");
    }
}

/// Writes what is held in memory: sessions, viewings, media, spans.
async fn save(app: &App) {
    let gateway = app.gateway();
    gateway.sessions().save().await;
    let (audit, now) = (gateway.audit().clone(), Timestamp::from(clock::now()));
    audit.watch.end(|event| drop(audit.sink.write(event, now)));
    let flushed = tokio::task::spawn_blocking(move || audit.sink.flush(AUDIT_DEADLINE)).await;
    if !flushed.unwrap_or(false) {
        tracing::error!("the last lines of the audit log could not be written");
    }
    if !app.persistent.cache.flush(DISK_DEADLINE).await {
        tracing::warn!("the disk tier did not keep up; what was fetched last is not held after a restart");
    }
    if let Some(tracer) = gateway.tracer().cloned() {
        // A collector that is gone has been counted and logged.
        let _ = tokio::task::spawn_blocking(move || tracer.end()).await;
    }
}

//! One operation on the store: refused at once if its shard is known to be ill, and noted for the breaker
//! when it ends.

use super::error::Error;
use super::health::{Failure, ShardId};
use super::link::Link;
use super::metrics::{Operation, OperationResult};
use super::script::Reply;
use super::state::StoreState;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An operation under way. If it is dropped, nothing is known of its shard.
pub(super) struct Attempt<'a> {
    state: &'a StoreState,
    op: Operation,
    shard: ShardId,
    started: Instant,
    link: Arc<Link>,
    reported: bool,
}

/// What came of it in time, if anything; no connection to its shard is `None`.
type StoreAnswer = Result<Option<redis::RedisResult<redis::Value>>, tokio::time::error::Elapsed>;

impl<'a> Attempt<'a> {
    /// Begins an operation on a slot, unless the store is known to be ill.
    ///
    /// # Errors
    /// There is no connection, or its shard is ill.
    pub(super) fn begin(state: &'a StoreState, op: Operation, slot: u16) -> Result<Self, Error> {
        let started = Instant::now();
        let refuse = |error| {
            state.metrics.operation(op, OperationResult::Ill, Duration::ZERO);
            Err(error)
        };
        let Some(link) = state.link.load_full() else { return refuse(Error::NotConnected) };
        let shard = state.connector.topology.shard(slot);
        if !state.health.pass(shard, started) {
            return refuse(Error::Ill);
        }
        Ok(Self { state, op, shard, started, link, reported: false })
    }

    /// The connection that it goes over.
    pub(super) fn link(&self) -> Arc<Link> {
        self.link.clone()
    }

    /// Notes what came of it.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) fn end(&mut self, answer: StoreAnswer) -> Result<Reply, Error> {
        self.reported = true;
        let state = self.state;
        let count = |ending| state.metrics.operation(self.op, ending, self.started.elapsed());
        match answer {
            Ok(Some(Ok(value))) => {
                count(OperationResult::Ok);
                state.health.answered(self.shard);
                state.show();
                Ok(Reply::from_value(value))
            }
            Ok(Some(Err(error))) => {
                count(OperationResult::Error);
                if is_trouble(&error) {
                    self.failed(Failure::Broken, replaces(&error));
                } else {
                    state.health.answered(self.shard);
                }
                Err(Error::Failed(described(&error)))
            }
            Ok(None) => Err(Error::NotConnected),
            Err(_) => {
                count(OperationResult::Timeout);
                self.failed(Failure::TimedOut, false);
                Err(Error::TimedOut)
            }
        }
    }

    fn failed(&self, failure: Failure, replace: bool) {
        let doubt = self.state.health.failed(self.shard, failure, Instant::now());
        // A connection that has been replaced already says nothing about the new one.
        let current = self.state.link.load().as_ref().is_some_and(|link| Arc::ptr_eq(link, &self.link));
        if (doubt || replace) && current {
            self.state.doubt.notify_one();
        }
        self.state.show();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.state.health.dropped(self.shard, Instant::now());
        }
    }
}

/// Whether an error says that the server cannot serve, as opposed to a command that it refuses.
fn is_trouble(error: &RedisError) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ResponseError
                | ServerErrorKind::ExecAbort
                | ServerErrorKind::CrossSlot
                | ServerErrorKind::NoPerm
                | ServerErrorKind::NoScript
        ) | ErrorKind::Extension
            | ErrorKind::UnexpectedReturnType
    )
}

/// Whether an error says at once that another connection is needed: this one is closed, the server is no
/// primary any more, or the password has changed.
fn replaces(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::AuthenticationFailed
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Parse
            | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}

/// What an error says. Answers of the server can repeat what was sent, so only their code is shown.
fn described(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}

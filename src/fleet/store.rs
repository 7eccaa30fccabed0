//! The store at work: operations with time-outs of ours.
//!
//! No operation waits for a store that is known to be ill: a breaker for each shard refuses at once
//! (`attempt`). The connection is replaced when it is in doubt (`state`).

use super::attempt::Attempt;
use super::behind::Behind;
use super::blocks::{Blocks, BlocksOf};
use super::config::Config;
use super::connect::{Connector, TokenSource};
use super::error::Error;
use super::health::Health;
use super::key::{Key, Keys};
use super::link::{Link, Node};
use super::metrics::{Metrics, Operation, OperationResult};
use super::rejection::Rejection;
use super::script::{Arg, Reply, Script};
use super::seal::{ID_LEN, Sealer, SealingSecret};
use super::state::StoreState;
use crate::base::task::OwnedTask;
use crate::setting::Mistake;
use arc_swap::{ArcSwap, ArcSwapOption};
use redis::{Cmd, ErrorKind, ServerErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// The store that replicas share. Cheap to clone; the last one closes the connection.
#[derive(Clone)]
pub struct Store {
    state: Arc<StoreState>,
    _upkeep: Arc<OwnedTask>,
}

/// A token lives for 15 minutes: connections are made anew with the next one before that.
const TOKEN_RENEWAL: Duration = Duration::from_secs(600);

impl Store {
    /// Reads what the settings name and begins to connect, without waiting for it.
    ///
    /// # Errors
    /// A file or a secret cannot be read.
    pub fn open(config: &Config, token: Option<TokenSource>, metrics: Metrics) -> Result<Self, Vec<Mistake>> {
        let renewal = token.is_some().then_some(TOKEN_RENEWAL);
        let state = Arc::new(StoreState {
            config: config.clone(),
            keys: Keys::new(&config.prefix),
            replica: replica_id(),
            connector: Connector::new(config, token)?,
            link: ArcSwapOption::empty(),
            sealer: ArcSwap::from_pointee(Sealer::new(&[])),
            health: Health::default(),
            behind: Behind::default(),
            metrics,
            doubt: Notify::new(),
            connected: Notify::new(),
            up: AtomicBool::new(false),
            replicas: AtomicUsize::new(1),
            names: AtomicU64::new(0),
        });
        let upkeep = state.clone();
        let upkeep = OwnedTask::spawn(async move { upkeep.keep_connected(renewal).await });
        Ok(Self { state, _upkeep: Arc::new(upkeep) })
    }

    /// Whether what the settings name can be read; nothing is connected.
    ///
    /// # Errors
    /// A file or a secret cannot be read.
    pub fn look(config: &Config) -> Result<(), Vec<Mistake>> {
        Connector::new(config, None).map(drop)
    }

    /// Waits until there is a connection, at most so long. Gives whether there is one.
    pub async fn connected(&self, within: Duration) -> bool {
        let connected = async {
            loop {
                let next = self.state.connected.notified();
                if self.state.link.load().is_some() {
                    return;
                }
                next.await;
            }
        };
        timeout(within, connected).await.is_ok()
    }

    /// Seals with the first of these keys from now on, and opens with all of them.
    pub fn seal_with(&self, secrets: &[SealingSecret]) {
        self.state.sealer.store(Arc::new(Sealer::new(secrets)));
    }

    /// The ids of the keys that seal and open, in their order.
    #[must_use]
    pub fn key_ids(&self) -> Vec<[u8; ID_LEN]> {
        self.state.sealer.load().key_ids()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    /// What this replica is called in the store: a random name for the life of the process.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.state.replica
    }

    /// A name that nothing else in the fleet has: for one attempt to hold something.
    #[must_use]
    pub fn unique_name(&self) -> String {
        format!("{}/{}", self.state.replica, self.state.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes the names of keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.state.keys
    }

    /// The fleet's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.state.metrics
    }

    /// Whether there is a connection and every shard answers, as far as is known.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.state.link.load().is_some() && self.state.health.is_well()
    }

    /// Since when the shard that has this key has not answered, if that is known.
    #[must_use]
    pub fn out_since(&self, key: &Key) -> Option<Instant> {
        self.state.health.out_since(self.state.connector.topology.shard(key.slot()))
    }

    /// How many replicas there are, as far as is known.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.state.replicas.load(Ordering::Relaxed).max(1)
    }

    /// So many replicas were seen, with so many different settings.
    pub(super) fn counted(&self, replicas: usize, configurations: usize) {
        self.state.replicas.store(replicas, Ordering::Relaxed);
        self.state.metrics.replicas(replicas, configurations);
    }

    /// What is wrong, for people; no reason to take this replica out of service.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        (!self.is_well())
            .then(|| "cache.shared: the store does not answer; this replica works alone".to_owned())
    }

    /// Runs a script at the primary of the unit that all `keys` belong to. It is sent again by its text if
    /// the server does not know it. What a script did whose answer came too late is unknown.
    ///
    /// # Errors
    /// There is no answer; the caller goes on without the store.
    pub async fn run(
        &self,
        op: Operation,
        script: &Script,
        keys: &[&Key],
        args: &[Arg<'_>],
        within: Duration,
    ) -> Result<Reply, Error> {
        let slot = keys.first().map_or(0, |key| key.slot());
        debug_assert!(keys.iter().all(|key| key.slot() == slot), "a script stays in one slot");
        let names: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        let call =
            async |link: &Link| match link.send(script.by_digest(&names, args), slot, Node::Primary).await {
                Some(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    link.send(script.by_text(&names, args), slot, Node::Primary).await
                }
                answer => answer,
            };
        let mut attempt = Attempt::begin(&self.state, op, slot)?;
        let link = attempt.link();
        attempt.end(timeout(within, call(&link)).await)
    }

    /// Fields of a hash as a replica of the store has them, for when its primary does not answer.
    ///
    /// # Errors
    /// There is no replica, or no answer of it.
    pub async fn read_replica(
        &self,
        key: &Key,
        fields: &[&str],
        within: Duration,
    ) -> Result<Vec<Reply>, Error> {
        let started = Instant::now();
        let link = self.state.link.load_full().ok_or(Error::NotConnected)?;
        let mut command = redis::cmd("HMGET");
        command.arg(key.as_str()).arg(fields);
        let answer = timeout(within, link.send(command, key.slot(), Node::Replica)).await;
        let count = |ending| self.state.metrics.operation(Operation::ReadReplica, ending, started.elapsed());
        match answer {
            Ok(Some(Ok(value))) => {
                count(OperationResult::Ok);
                Ok(Reply::from_value(value).list().collect())
            }
            Ok(Some(Err(error))) => {
                count(OperationResult::Error);
                Err(Error::Failed(error.category().to_owned()))
            }
            Ok(None) => Err(Error::NotConnected),
            Err(_) => {
                count(OperationResult::Timeout);
                Err(Error::TimedOut)
            }
        }
    }

    /// One command at the primary of a key, such as `GET` or `XREAD`. It must not block.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn command(
        &self,
        op: Operation,
        key: &Key,
        words: &[Arg<'_>],
        within: Duration,
    ) -> Result<Reply, Error> {
        let mut command = Cmd::new();
        for word in words {
            match word {
                Arg::Bytes(bytes) => command.arg(bytes),
                Arg::Number(number) => command.arg(number),
            };
        }
        let mut attempt = Attempt::begin(&self.state, op, key.slot())?;
        let link = attempt.link();
        attempt.end(timeout(within, link.send(command, key.slot(), Node::Primary)).await)
    }

    /// Writes a sealed value that ends after `life`.
    ///
    /// # Errors
    /// There is no answer, or no key to seal with.
    pub async fn set(
        &self,
        op: Operation,
        key: &Key,
        version: u64,
        plain: &[u8],
        life: Duration,
        within: Duration,
    ) -> Result<(), Error> {
        let sealed = self.seal(key, version, plain)?;
        let words = ["SET".into(), key.as_str().into(), sealed.as_slice().into(), "PX".into(), life.into()];
        self.command(op, key, &words, within).await.map(drop)
    }

    /// Reads a sealed value. `None`: there is none, or what there is was rejected.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(
        &self,
        op: Operation,
        key: &Key,
        version: u64,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, Error> {
        let reply = self.command(op, key, &["GET".into(), key.as_str().into()], within).await?;
        Ok(reply.bytes().and_then(|sealed| self.open_value(key, version, sealed).ok()))
    }

    /// Seals a value for its key, as this version of it.
    ///
    /// # Errors
    /// There is no key to seal with.
    pub fn seal(&self, key: &Key, version: u64, plain: &[u8]) -> Result<Vec<u8>, Error> {
        self.state.sealer.load().seal(key.as_str(), version, plain).ok_or(Error::NoKey)
    }

    /// Opens a value that was sealed for this key as this version. What does not open is counted.
    ///
    /// # Errors
    /// [`Error::Rejected`].
    pub fn open_value(&self, key: &Key, version: u64, sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let opened = self.state.sealer.load().open(key.as_str(), version, sealed);
        opened.map_err(|reason| {
            self.state.metrics.rejected(reason);
            Error::Rejected(reason)
        })
    }

    /// For sealing the blocks of a value that this key stands for; and the id of the playback key that they
    /// are sealed with.
    ///
    /// # Errors
    /// There is no key to seal with.
    pub fn seal_blocks(&self, key: &Key, of: &BlocksOf) -> Result<([u8; ID_LEN], Blocks), Error> {
        self.state.sealer.load().blocks(key.as_str(), of).ok_or(Error::NoKey)
    }

    /// For opening the blocks of a value that this key stands for, sealed with the playback key of this id.
    ///
    /// # Errors
    /// [`Error::Rejected`], which is counted.
    pub fn open_blocks(&self, key: &Key, sealed_by: [u8; ID_LEN], of: &BlocksOf) -> Result<Blocks, Error> {
        let blocks = self.state.sealer.load().blocks_of(sealed_by, key.as_str(), of);
        blocks.map_err(|reason| {
            self.state.metrics.rejected(reason);
            Error::Rejected(reason)
        })
    }

    /// A block was not what it was sealed as.
    pub fn rejected(&self, reason: Rejection) {
        self.state.metrics.rejected(reason);
    }

    /// Does work that holds so many bytes and that no request waits for; it must have a deadline of its own.
    /// False: too much is under way, and it was dropped and counted.
    pub fn behind(
        &self,
        op: Operation,
        bytes: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let started = self.state.behind.start(bytes, work);
        if !started {
            self.state.metrics.operation(op, OperationResult::Dropped, Duration::ZERO);
        }
        started
    }
}

fn replica_id() -> String {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).expect("the system gives randomness");
    crate::base::hex::encode(&random)
}

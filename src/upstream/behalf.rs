//! On whose behalf KVS is called: whose turn it takes under a quota, who pays, and where the call is noted.

use super::answer::Answer;
use super::error::Error;
use crate::telemetry::spans::{self, Steps};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The party a call is made for. Made only when KVS must be called, so a cache hit costs none.
#[derive(Clone)]
pub struct OnBehalfOf {
    principal: Arc<str>,
    account: Option<Arc<dyn PointsAccount>>,
    steps: Steps,
    log: Arc<CallLog>,
}

/// An account that quota points are charged to.
pub trait PointsAccount: Send + Sync {
    /// Charges points of KVS's quotas, media and metadata together. May overdraw the account.
    fn charge(&self, points: u32);
}

/// What the calls made for one request came to, for its access line and its trace.
#[derive(Default)]
pub struct CallLog {
    attempts: AtomicU32,
    request_id: OnceLock<String>,
    millis: AtomicU64,
}

impl CallLog {
    /// HTTP requests that were sent to KVS, retries included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// KVS's id of the first call that was answered.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.get().map(String::as_str)
    }

    /// The time that KVS took until its answers began, all calls together; zero if it was not called.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn note(&self, attempts: u32, waited: Duration) {
        self.attempts.fetch_add(attempts, Ordering::Relaxed);
        let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl OnBehalfOf {
    /// A caller: `principal` takes the turn, `account` pays.
    #[must_use]
    pub fn caller(
        principal: Arc<str>,
        account: Arc<dyn PointsAccount>,
        steps: Steps,
        log: Arc<CallLog>,
    ) -> Self {
        Self { principal, account: Some(account), steps, log }
    }

    /// kvs-edge itself, for all callers together; `purpose` is the principal whose turn it takes. Nobody is
    /// charged.
    #[must_use]
    pub fn all_callers(purpose: impl Into<Arc<str>>) -> Self {
        Self { principal: purpose.into(), account: None, steps: Steps::default(), log: Arc::default() }
    }

    /// The principal whose turn it is.
    #[must_use]
    pub fn principal(&self) -> &Arc<str> {
        &self.principal
    }

    /// Where the steps of the request are noted.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// Charges points to the account.
    pub fn charge(&self, points: u32) {
        if let Some(account) = &self.account {
            account.charge(points);
        }
    }

    /// Waits for a call and notes how long it took and how many attempts it needed.
    pub(super) async fn note(
        &self,
        calling: impl Future<Output = Result<Answer, Error>>,
    ) -> Result<Answer, Error> {
        let began = Instant::now();
        let answer = self.steps.time(spans::UPSTREAM, calling).await?;
        self.log.note(answer.attempts, began.elapsed());
        if let Some(id) = &answer.request_id {
            // The first call's id is kept.
            let _ = self.log.request_id.set(id.clone());
        }
        Ok(answer)
    }
}

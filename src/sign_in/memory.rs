//! What is remembered between requests, and outlives a reload: which answers were used, and renewals.
//!
//! Providers that rotate refresh tokens take a token that is used twice for stolen, and end the session. Two
//! tabs that renew at the same time show the same one. So one request is made for both, and for a while
//! whoever comes late with the old token gets the same new ones.

use super::problem::Problem;
use super::session::Session;
use crate::base::digest::{Digest, DigestState, Digester};
use crate::base::single_flight::SingleFlight;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

/// How long new tokens are given for an old refresh token.
const GRACE: Duration = Duration::from_secs(30);

pub(super) struct Memory {
    digester: Digester,
    /// Answers that were used; longer ago no browser has the cookie for them.
    used: Cache<Digest, (), DigestState>,
    recent: Cache<Digest, Arc<Session>, DigestState>,
    renewals: SingleFlight<Digest, Result<Arc<Session>, Problem>>,
}

impl Default for Memory {
    fn default() -> Self {
        let used = Cache::builder().max_capacity(100_000).time_to_live(super::attempt::LASTS);
        let recent = Cache::builder().max_capacity(10_000).time_to_live(GRACE);
        Self {
            digester: Digester::default(),
            used: used.build_with_hasher(DigestState::default()),
            recent: recent.build_with_hasher(DigestState::default()),
            renewals: SingleFlight::default(),
        }
    }
}

impl Memory {
    /// Notes that the answer to a sign-in has come. False if it has come before.
    pub fn is_first(&self, state: &str) -> bool {
        self.used.entry(self.digester.of(state.as_bytes())).or_insert(()).is_fresh()
    }

    /// The session that follows this one: by one request for all who want it at the same time, or shortly
    /// after.
    pub async fn renew<F>(
        self: &Arc<Self>,
        session: &Session,
        work: impl FnOnce() -> F,
    ) -> Result<Arc<Session>, Problem>
    where
        F: Future<Output = Result<Session, Problem>> + Send + 'static,
    {
        let key = self.digester.of(session.refresh.as_bytes());
        if let Some(renewed) = self.recent.get(&key) {
            return Ok(renewed);
        }
        let (memory, old) = (self.clone(), session.refresh.clone());
        let flight = self.renewals.start(key, || {
            let work = work();
            async move {
                // Another one may have ended since it was looked for.
                if let Some(renewed) = memory.recent.get(&key) {
                    return Ok(renewed);
                }
                let renewed = Arc::new(work.await?);
                if renewed.refresh != old {
                    memory.recent.insert(key, renewed.clone());
                }
                Ok(renewed)
            }
        });
        flight.result().await.map_err(|_| Problem::Provider)?
    }
}

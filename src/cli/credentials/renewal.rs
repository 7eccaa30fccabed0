//! The endpoint's present token, and how it gets the next one.
//!
//! A file is read at each request. A command runs ahead of the token's end, once for all requests, and
//! requests meanwhile get the present token. It runs in a task of its own, since SDKs close their connection
//! after a few seconds. After a failure it is not run for a while.

use super::token::{Jwt, TokenSource};
use crate::base::task::OwnedTask;
use crate::kvs::Timestamp;
use anyhow::bail;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The next token is fetched when less than this remains, or half of what there was at first.
const RENEW: Duration = Duration::from_secs(120);
/// Between a failure and the next try.
const PAUSE: Duration = Duration::from_secs(5);

/// The present token and its renewal.
pub(super) struct Tokens {
    source: TokenSource,
    state: Mutex<Renewal>,
    /// How many renewals have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Renewal {
    held: Option<HeldToken>,
    /// The renewal in progress.
    task: Option<OwnedTask>,
    /// When the last renewal failed, and why; `None` once one has succeeded.
    failure: Option<(Timestamp, String)>,
}

struct HeldToken {
    token: Jwt,
    /// From when on the next one is fetched.
    renew: Timestamp,
}

impl HeldToken {
    fn new(token: Jwt, now: Timestamp) -> Self {
        let ahead = (token.remaining(now) / 2).min(RENEW);
        Self { renew: token.ends.minus(ahead), token }
    }
}

impl Renewal {
    /// The present token, if it has not ended.
    fn token(&self, now: Timestamp) -> Option<Jwt> {
        self.held.as_ref().filter(|held| held.token.ends > now).map(|held| held.token.clone())
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let fresh = self.held.as_ref().is_some_and(|held| now < held.renew);
        let rests = self.failure.as_ref().is_some_and(|(at, _)| now < at.plus(PAUSE));
        !fresh && !rests && self.task.is_none()
    }
}

impl Tokens {
    /// Starts with this token, if there is one.
    pub fn new(source: TokenSource, first: Option<Jwt>, now: Timestamp) -> Arc<Self> {
        let held = first.map(|token| HeldToken::new(token, now));
        let state = Mutex::new(Renewal { held, ..Renewal::default() });
        Arc::new(Self { source, state, ended: watch::Sender::new(0) })
    }

    /// A token that has not ended: the present one, or the next if there is none.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(self: &Arc<Self>, now: Timestamp) -> anyhow::Result<Jwt> {
        if !self.source.is_costly() {
            return self.read(now).await;
        }
        let mut ended = self.ended.subscribe();
        let renewing = {
            let mut state = self.state();
            if state.is_due(now) {
                state.task = Some(OwnedTask::spawn(self.clone().renew(now)));
            }
            if let Some(token) = state.token(now) {
                return Ok(token);
            }
            state.task.is_some()
        };
        if renewing {
            // The renewal always ends, since the command has a deadline.
            let _ = ended.changed().await;
        }
        let state = self.state();
        match (state.token(now), &state.failure) {
            (Some(token), _) => Ok(token),
            (None, Some((_, why))) => bail!("{why}"),
            (None, None) => bail!("the token could not be renewed"),
        }
    }

    /// The file's token; the last one, if it cannot be read now.
    async fn read(&self, now: Timestamp) -> anyhow::Result<Jwt> {
        let read = self.source.token(now).await;
        let mut state = self.state();
        match read {
            Ok(token) => Ok(state.held.insert(HeldToken::new(token, now)).token.clone()),
            Err(error) => state.token(now).inspect(|_| eprintln!("cannot renew yet: {error:#}")).ok_or(error),
        }
    }

    async fn renew(self: Arc<Self>, now: Timestamp) {
        let began = Instant::now();
        let result = self.source.token(now).await;
        let now = now.plus(began.elapsed());
        let mut state = self.state();
        // This task ends without waiting again, so dropping its owner does not stop it early.
        state.task = None;
        match result {
            Ok(token) => {
                state.held = Some(HeldToken::new(token, now));
                state.failure = None;
            }
            Err(error) => {
                eprintln!("cannot renew: {error:#}");
                state.failure = Some((now, format!("{error:#}")));
            }
        }
        drop(state);
        self.ended.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, Renewal> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::test_jwt as jwt;
    use super::*;
    use std::path::Path;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

    /// A command that counts its runs, waits while there is a file `wait`, and prints what is in `next`.
    fn slow(folder: &Path) -> (Arc<Tokens>, impl Fn() -> usize) {
        let (runs, next, wait) = (folder.join("runs"), folder.join("next"), folder.join("wait"));
        std::fs::write(&runs, "").unwrap();
        let waits = format!("while test -e {}; do sleep 0.02; done", wait.display());
        let command = format!("echo >> {}; {waits}; cat {}", runs.display(), next.display());
        let source = TokenSource { token_file: None, token_command: Some(command) };
        let first = Jwt::read(&jwt(1_000_000_600), NOW).unwrap();
        (Tokens::new(source, Some(first), NOW), move || std::fs::read(&runs).unwrap().len())
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn near_its_end_the_present_token_is_given_while_one_command_gets_the_next_whoever_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let (tokens, runs) = slow(folder.path());
        let (next, wait) = (jwt(1_000_004_000), folder.path().join("wait"));
        std::fs::write(&wait, "").unwrap();
        std::fs::write(folder.path().join("next"), &next).unwrap();
        assert_eq!(tokens.get(later(470)).await.unwrap().text, jwt(1_000_000_600));
        assert_eq!(runs(), 0, "two minutes are left");
        for _ in 0..20 {
            let asking = tokio::spawn({
                let tokens = tokens.clone();
                async move { tokens.get(later(490)).await.unwrap().text }
            });
            assert_eq!(asking.await.unwrap(), jwt(1_000_000_600), "nobody waits for the command");
        }
        // It had ended by now: callers wait for the command that is under way. One leaves.
        let leaves = tokio::time::timeout(Duration::from_millis(50), tokens.get(later(601))).await;
        assert!(leaves.is_err());
        std::fs::remove_file(wait).unwrap();
        assert_eq!(tokens.get(later(601)).await.unwrap().text, next);
        assert_eq!(runs(), 1);
    }

    #[tokio::test]
    async fn after_a_failure_the_command_rests_and_the_present_token_serves_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let (tokens, runs) = slow(folder.path());
        let ended = async |count: u64| {
            let mut ended = tokens.ended.subscribe();
            let _ = ended.wait_for(|it| *it >= count).await;
        };
        for _ in 0..3 {
            assert!(tokens.get(later(500)).await.is_ok());
            ended(1).await;
        }
        assert_eq!(runs(), 1);
        let error = tokens.get(later(601)).await.unwrap_err().to_string();
        assert!(error.contains("failed"), "{error}");
        assert!(tokens.get(later(602)).await.is_err());
        assert_eq!(runs(), 2, "it rests for five seconds");
        std::fs::write(folder.path().join("next"), jwt(1_000_004_000)).unwrap();
        assert!(tokens.get(later(607)).await.is_ok());
    }

    #[tokio::test]
    async fn a_token_that_is_short_lived_from_the_start_is_not_fetched_at_each_question() {
        let folder = tempfile::tempdir().unwrap();
        let (tokens, runs) = slow(folder.path());
        std::fs::write(folder.path().join("next"), jwt(1_000_000_661)).unwrap();
        // 60 s remain of the next one.
        assert!(tokens.get(later(601)).await.is_ok());
        for second in 602..630 {
            assert!(tokens.get(later(second)).await.is_ok());
        }
        assert_eq!(runs(), 1);
    }
}

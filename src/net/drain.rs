//! The phases in which a process ends.
//!
//! `Running` → `Grace` (readiness fails; new work is still accepted, because load balancers learn of it late)
//! → `Closing` (nothing new is accepted; connections close as they become idle) → `Ended` (the rest is
//! closed). Phases only move forward. What begins a drain (SIGTERM) and what is done in each phase is left to
//! the holders of a [`Signal`].

use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;

/// A phase of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Serving.
    Running,
    /// Not ready any more, still accepting.
    Grace,
    /// Accepting nothing; connections close as they become idle.
    Closing,
    /// Over: what is still open is closed.
    Ended,
}

/// Moves the phases on. Dropping it counts as `Ended` for every signal.
pub struct Drain {
    phase: watch::Sender<Phase>,
}

/// Follows the phases.
#[derive(Clone)]
pub struct Signal {
    phase: watch::Receiver<Phase>,
}

/// A drain and its signal, at `Running`.
#[must_use]
pub fn channel() -> (Drain, Signal) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Drain { phase: sender }, Signal { phase: receiver })
}

impl Drain {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// One more signal.
    #[must_use]
    pub fn signal(&self) -> Signal {
        Signal { phase: self.phase.subscribe() }
    }

    /// Moves on to `phase`; a phase that is already past changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }

    /// Runs the whole drain: `grace` long `Grace`, then `Closing` until `timeout` after the start of the
    /// drain (never shorter than `grace`), then `Ended`. `again` (a second signal) goes to `Ended` at once.
    /// Drop the future when all work is done earlier.
    pub async fn run(&self, grace: Duration, timeout: Duration, again: impl Future<Output = ()>) {
        let phases = async {
            self.advance(Phase::Grace);
            tokio::time::sleep(grace).await;
            self.advance(Phase::Closing);
            tokio::time::sleep(timeout.saturating_sub(grace)).await;
        };
        tokio::select! {
            () = phases => {}
            () = again => {}
        }
        self.advance(Phase::Ended);
    }
}

impl Signal {
    /// The phase now; `Ended` when the drain's owner is gone.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.phase.has_changed().is_err() { Phase::Ended } else { *self.phase.borrow() }
    }

    /// Returns once `phase` or a later one is reached, or the drain's owner is gone.
    pub async fn reached(&mut self, phase: Phase) {
        // An error is the owner being gone, which counts as `Ended`.
        let _ = self.phase.wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn phases_follow_each_other_in_time() {
        let (drain, signal) = channel();
        let started = tokio::time::Instant::now();
        let watcher = tokio::spawn({
            let mut signal = signal.clone();
            async move {
                let mut seen = Vec::new();
                for phase in [Phase::Grace, Phase::Closing, Phase::Ended] {
                    signal.reached(phase).await;
                    seen.push(started.elapsed().as_secs());
                }
                seen
            }
        });
        drain.run(Duration::from_secs(5), Duration::from_secs(30), std::future::pending()).await;
        assert_eq!(watcher.await.unwrap(), [0, 5, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_now_and_there_is_no_way_back() {
        let (drain, signal) = channel();
        let started = tokio::time::Instant::now();
        drain.run(Duration::from_secs(5), Duration::from_secs(30), std::future::ready(())).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        drain.advance(Phase::Running);
        assert_eq!(signal.phase(), Phase::Ended);
    }

    #[tokio::test]
    async fn without_an_owner_it_is_over() {
        let (drain, mut signal) = channel();
        assert_eq!(signal.phase(), Phase::Running);
        drop(drain);
        signal.reached(Phase::Ended).await;
        assert_eq!(signal.phase(), Phase::Ended);
    }
}

//! What a replica does as one of a fleet, beside serving: it says that it is there, and carries out what
//! other replicas were ordered to purge.

use super::program::App;
use crate::fleet::{Digest, PurgeLog, Store, presence};
use std::sync::Arc;
use tokio::task::JoinSet;

/// The sections that may differ between replicas of one fleet.
const OWN_SECTIONS: [&str; 6] = ["server", "admin", "log", "trace", "limits", "console"];

/// Starts these tasks, if there is a store.
pub(super) fn begin(app: &Arc<App>, tasks: &mut JoinSet<()>) {
    if let Some(store) = app.persistent.store.clone() {
        tasks.spawn(be_present(app.clone(), store));
    }
    if let Some(log) = app.persistent.purge_log.clone() {
        tasks.spawn(carry_out_purges(app.clone(), log));
    }
}

async fn be_present(app: Arc<App>, store: Store) {
    let presence = presence::Presence::new(store.clone());
    loop {
        if let Err(error) = presence.beat(&settings(&app, &store)).await {
            tracing::debug!(%error, "the other replicas cannot be counted");
        }
        tokio::time::sleep(presence::EVERY).await;
    }
}

async fn carry_out_purges(app: Arc<App>, log: PurgeLog) {
    let purge = |order| {
        let app = app.clone();
        async move { app.purge_as_ordered(order).await }
    };
    log.follow(purge).await;
}

/// A digest of everything that all replicas should have in common: settings, policies, the ids of keys.
fn settings(app: &App, store: &Store) -> String {
    let mut common = toml::Table::try_from(&*app.config()).unwrap_or_default();
    common.retain(|section, _| !OWN_SECTIONS.contains(&section));
    let policies = app.gateway().policy().version().clone();
    let text = format!("{common}\n{policies}\n{:?}", store.key_ids());
    Digest::of("settings", &[text.as_bytes()]).as_str().to_owned()
}

//! What a replica does as one of a fleet, beside serving: it carries out what other replicas were ordered to
//! purge. That it is there is said by `fleet::Presence`.

use super::program::App;
use crate::fleet::PurgeLog;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Starts these tasks, if there is a store.
pub(super) fn begin(app: &Arc<App>, tasks: &mut JoinSet<()>) {
    if let Some(log) = app.persistent.purge_log.clone() {
        tasks.spawn(carry_out_purges(app.clone(), log));
    }
}

async fn carry_out_purges(app: Arc<App>, log: PurgeLog) {
    let purge = |order| {
        let app = app.clone();
        async move { app.purge_as_ordered(order).await }
    };
    log.follow(purge).await;
}

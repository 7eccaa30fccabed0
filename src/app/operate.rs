//! What the admin listener shows of the running program and does to it.

use super::program::App;
use crate::base::clock;
use crate::fleet;
use crate::kvs::{StreamArn, Timestamp};
use crate::net::drain::Phase;
use serde_json::Value;

impl App {
    /// One issuer or one AWS entry of several is no reason: only its own callers are without service. KVS
    /// being down is none either: a fleet that fails its health checks together with KVS serves nothing
    /// from its cache.
    pub(super) fn readiness(&self) -> Vec<String> {
        let gateway = self.gateway();
        let mut problems = gateway.identity().unready();
        problems.extend(gateway.upstream().unready());
        problems.extend(gateway.audit().sink.trouble().filter(|_| gateway.audit().sink.required()));
        if self.draining.phase() > Phase::Running {
            problems.push("draining".to_owned());
        }
        problems
    }

    /// What is wrong and no reason not to be ready.
    pub(super) fn notes(&self) -> Vec<String> {
        let gateway = self.gateway();
        let mut notes = gateway.identity().problems();
        notes.extend(gateway.upstream().problems());
        notes.extend(self.persistent.store.as_ref().and_then(fleet::Store::problem));
        notes.extend(self.persistent.cache.problems());
        notes.extend(gateway.audit().sink.trouble());
        notes.extend(self.presence.iter().flat_map(fleet::Presence::differences));
        let unready = self.readiness();
        notes.retain(|note| !unready.contains(note));
        notes
    }

    /// Sets the metrics of what a gateway can do without.
    pub(super) fn show_state(&self) {
        let disk_works = self.persistent.cache.problems().is_empty();
        self.persistent.state_metrics.show(disk_works, self.gateway().audit().sink.trouble().is_none());
    }

    pub(super) fn sessions(&self) -> Value {
        serde_json::to_value(self.gateway().sessions().list()).unwrap_or_default()
    }

    pub(super) fn shown_config(&self) -> String {
        self.config().to_toml().unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    pub(super) async fn purge(&self, stream: &str) -> Result<usize, String> {
        let arn = StreamArn::parse(stream).map_err(|problem| format!("stream {problem}"))?;
        let told = match &self.persistent.purge_log {
            Some(log) => log.order(stream).await,
            None => Ok(()),
        };
        let purged = self.purge_here(&arn, Timestamp::from(clock::now())).await;
        match told {
            Ok(()) => Ok(purged),
            Err(why) => Err(format!(
                "{purged} entries are purged here, but the other replicas do not know of it: {why}; order it again"
            )),
        }
    }

    /// Purges what another replica was ordered to purge.
    pub(super) async fn purge_as_ordered(&self, order: fleet::PurgeOrder) {
        let now = Timestamp::from(clock::now());
        match StreamArn::parse(&order.stream) {
            Ok(arn) => drop(self.purge_here(&arn, now.minus(order.age)).await),
            Err(problem) => tracing::warn!("an order to purge names no stream: it {problem}"),
        }
    }

    /// Removes what was fetched before `at` from every tier.
    async fn purge_here(&self, arn: &StreamArn, at: Timestamp) -> usize {
        self.persistent.warming.cancel(arn.name());
        // First what is being fetched, so that it is not stored after the purge.
        self.persistent.batches.purge(arn.as_str());
        self.persistent.packaging.purge(arn.as_str());
        self.persistent.cache.purge_before(arn.as_str(), at).await
    }

    pub(super) fn warm(&self, request: &Value) -> Result<Value, String> {
        let gateway = self.gateway();
        let order = gateway.prewarm_order(request)?;
        self.persistent.warming.begin(gateway.archive().clone(), order)
    }
}

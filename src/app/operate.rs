//! What the admin listener shows of the running program and does to it.

use super::program::App;
use crate::fleet;
use crate::kvs::StreamArn;
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
        let unready = self.readiness();
        notes.retain(|note| !unready.contains(note));
        notes
    }

    pub(super) fn sessions(&self) -> Value {
        serde_json::to_value(self.gateway().sessions().list()).unwrap_or_default()
    }

    pub(super) fn shown_config(&self) -> String {
        self.config().to_toml().unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    pub(super) async fn purge(&self, stream: &str) -> Result<usize, String> {
        let arn = StreamArn::parse(stream).map_err(|problem| format!("stream {problem}"))?;
        self.persistent.warming.cancel(arn.name());
        // First what is being fetched, so that it is not stored after the purge.
        self.persistent.batches.purge(stream);
        self.persistent.packaging.purge(stream);
        Ok(self.persistent.cache.purge(stream).await)
    }

    pub(super) fn warm(&self, request: &Value) -> Result<Value, String> {
        let gateway = self.gateway();
        let order = gateway.prewarm_order(request)?;
        self.persistent.warming.begin(gateway.archive().clone(), order)
    }
}

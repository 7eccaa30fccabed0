//! Which shard of a cluster has which slot, as the client has learnt it last.

use super::health::ShardId;
use arc_swap::ArcSwapOption;
use redis::cluster::NodeAddress;
use redis::cluster_read_routing::{
    ClusterTopology, ReadCandidates, ReadRoutingStrategy, ReadRoutingStrategyFactory,
};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

/// Shared between the connection, which learns it, and the store.
#[derive(Clone, Default)]
pub(super) struct Topology(Arc<ArcSwapOption<ClusterTopology>>);

impl Topology {
    /// The shard that has the slot; all are one while nothing is known, and in a store that is no cluster.
    pub(super) fn shard(&self, slot: u16) -> ShardId {
        let topology = self.0.load();
        topology.as_ref().and_then(|known| known.shard_for_slot(slot)).map_or(ShardId(0), |s| id(s.primary()))
    }

    /// Whether there is such a shard.
    pub(super) fn has(&self, shard: ShardId) -> bool {
        let topology = self.0.load();
        topology.as_ref().is_none_or(|known| known.shards().any(|other| id(other.primary()) == shard))
    }

    /// Every node that is known, as `(host, port)`.
    pub(super) fn nodes(&self) -> Vec<(String, u16)> {
        let topology = self.0.load();
        let shards = topology.iter().flat_map(|known| known.shards());
        let nodes = shards.flat_map(|shard| std::iter::once(shard.primary()).chain(shard.replicas()));
        nodes.map(|node| (node.host().to_owned(), node.port())).collect()
    }
}

fn id(primary: &NodeAddress) -> ShardId {
    ShardId(BuildHasherDefault::<DefaultHasher>::default().hash_one(primary))
}

impl ReadRoutingStrategyFactory for Topology {
    fn create_strategy(&self) -> Box<dyn ReadRoutingStrategy> {
        Box::new(AnyReplica(self.clone()))
    }
}

/// Reads go to a replica at random, if they are sent to replicas at all.
struct AnyReplica(Topology);

impl ReadRoutingStrategy for AnyReplica {
    fn on_topology_changed(&self, topology: ClusterTopology) {
        self.0.0.store(Some(Arc::new(topology)));
    }

    fn route_read<'a>(&self, candidates: &ReadCandidates<'a>) -> &'a NodeAddress {
        match candidates {
            ReadCandidates::AnyNode(nodes) => nodes.replicas().choose_random(),
            ReadCandidates::ReplicasOnly(nodes) => nodes.replicas().choose_random(),
        }
    }
}

//! One connection to the store, whichever kind of store it is.

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, RedisResult, Value};

/// A connection that many operations share.
pub(super) enum Link {
    /// To one server and, if it has one, to its replica.
    Single {
        /// The server.
        primary: MultiplexedConnection,
        /// A copy of it.
        replica: Option<MultiplexedConnection>,
    },
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

/// Which node of a shard an operation goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    /// The one that writes.
    Primary,
    /// A copy; there may be none.
    Replica,
}

impl Link {
    /// Sends a command. `None`: there is no such node.
    pub(super) async fn send(&self, command: Cmd, slot: u16, node: Node) -> Option<RedisResult<Value>> {
        let answer = match self {
            Self::Single { primary, replica } => {
                let connection = match node {
                    Node::Primary => Some(primary),
                    Node::Replica => replica.as_ref(),
                };
                connection?.clone().send_packed_command(&command).await
            }
            Self::Cluster(connection) => {
                let kind = match node {
                    Node::Primary => SlotAddr::Master,
                    Node::Replica => SlotAddr::ReplicaRequired,
                };
                let route = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, kind));
                connection.clone().route_command(command, RoutingInfo::SingleNode(route)).await
            }
        };
        // An error of the server comes as a value.
        Some(answer.and_then(Value::extract_error))
    }
}

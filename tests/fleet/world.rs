//! The processes of a fleet, and what can fail of them.

use super::harness::faulty_link::{FaultyLink, Spoil};
use super::harness::object_store::ObjectStore;
use super::harness::redis::Redis;
use super::harness::{Edge, Replica, Setup, free_port};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// One thing that fails.
#[derive(Clone, Copy)]
pub enum Fault {
    None,
    ReplicaKilled,
    ReplicaKilledInDrain,
    PrimaryKilled,
    StoreKilled,
    S3Refuses,
    S3Unavailable,
    S3Cuts,
}

/// Calls that reached KVS.
pub struct Calls {
    pub sessions: u64,
    pub throttled: u64,
}

/// Emulator, store, S3 server, replicas and balancer. `edge` has the emulator and makes playback URLs.
pub struct World {
    pub edge: Edge,
    /// Where players reach the balancer.
    pub front: String,
    redis: Redis,
    link: FaultyLink,
    replicas: Vec<Replica>,
    ports: Vec<(u16, u16)>,
    victim: usize,
    _s3: ObjectStore,
    _balancer: Child,
}

impl World {
    pub async fn start() -> Self {
        let (redis, s3) = (Redis::cluster().await, ObjectStore::start().await);
        let link = FaultyLink::start(&s3.url).await;
        let keys = s3.folder().display();
        let bucket = format!(
            "object_limit = \"256KiB\"\ns3 = {{ bucket = \"{}\", min_size = \"64KiB\", region = \"us-east-1\", \
             endpoint_url = \"{}\", \
             access_key_id = \"file:{keys}/id\", secret_access_key = \"file:{keys}/secret\" }}",
            s3.bucket, link.url
        );
        let edge = Setup { more: redis.settings(&bucket), ..Setup::default() }.start().await;
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let replicas: Vec<Replica> =
            ports.iter().enumerate().map(|(at, ports)| start_replica(&edge, at, *ports)).collect();
        for replica in &replicas {
            edge.until_ready(replica).await;
        }
        let port = free_port();
        let balancer = start_balancer(&edge, port, &ports);
        let front = format!("http://127.0.0.1:{port}");
        edge.until("the balancer answers", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await; // it has checked each replica
        Self { edge, front, redis, link, replicas, ports, victim: 0, _s3: s3, _balancer: balancer }
    }

    pub async fn break_it(&mut self, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::ReplicaKilled => self.replicas[0].kill().await,
            Fault::ReplicaKilledInDrain => {
                self.replicas[1].signal("TERM").await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                if self.replicas[1].is_running() {
                    self.replicas[1].kill().await;
                }
            }
            Fault::PrimaryKilled => {
                let keys = self.redis.keys().await;
                let key = keys.iter().find(|key| key.contains("{s:")).expect("state is stored");
                self.victim = self.redis.primary_of(key).await;
                self.redis.servers[self.victim].signal("KILL");
            }
            Fault::StoreKilled => self.redis.servers.iter().for_each(|server| server.signal("KILL")),
            Fault::S3Refuses => self.link.spoil(Spoil::Refuse),
            Fault::S3Unavailable => self.link.spoil(Spoil::Unavailable),
            Fault::S3Cuts => self.link.spoil(Spoil::CutAfter(300_000)),
        }
    }

    pub async fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::ReplicaKilled => self.start_again(0).await,
            Fault::ReplicaKilledInDrain => self.start_again(1).await,
            Fault::PrimaryKilled => self.redis.servers[self.victim].restart(),
            Fault::StoreKilled => self.redis.servers.iter_mut().for_each(|server| server.restart()),
            Fault::S3Refuses | Fault::S3Unavailable | Fault::S3Cuts => self.link.spoil(Spoil::Nothing),
        }
    }

    async fn start_again(&mut self, at: usize) {
        self.replicas[at] = start_replica(&self.edge, at, self.ports[at]);
        self.edge.until_ready(&self.replicas[at]).await;
    }

    pub async fn calls(&self) -> Calls {
        let hls = self.edge.reached_by("GetHLSStreamingSessionURL").await;
        let dash = self.edge.reached_by("GetDASHStreamingSessionURL").await;
        let throttled = self.edge.metric("kvs_edge_upstream_throttled_total", &[]).await;
        let mut throttled = throttled as u64;
        for (_, admin) in &self.ports {
            let text = self.edge.http.get(&format!("http://127.0.0.1:{admin}/metrics"), &[]).await.text();
            let lines = text.lines().filter(|line| line.starts_with("kvs_edge_upstream_throttled_total"));
            throttled +=
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64;
        }
        Calls { sessions: hls + dash, throttled }
    }
}

fn start_replica(edge: &Edge, number: usize, (listen, admin): (u16, u16)) -> Replica {
    let settings =
        [("SERVER__LISTEN", format!("127.0.0.1:{listen}")), ("ADMIN__LISTEN", format!("127.0.0.1:{admin}"))];
    let mut replica = edge.start_replica(number, &settings);
    (replica.listen, replica.admin) = (listen, admin);
    replica
}

/// HAProxy with the settings of `deploy/balancer`, but each request goes to the next replica.
fn start_balancer(edge: &Edge, port: u16, replicas: &[(u16, u16)]) -> Child {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/balancer/haproxy.cfg");
    let mut text = std::fs::read_to_string(shipped)
        .unwrap()
        .replace("bind :8080", &format!("bind 127.0.0.1:{port}"))
        .replace("balance hash var(txn.camera)", "balance roundrobin")
        .replace("  hash-type consistent sdbm avalanche\n", "")
        .replace("  hash-balance-factor 150\n", "");
    for (at, (listen, admin)) in (1..).zip(replicas) {
        let to = format!("127.0.0.1:{listen} port {admin}");
        text = text.replace(&format!("edge-{at}:8080 port 9090"), &to);
    }
    std::fs::write(edge.path("haproxy.cfg"), text).unwrap();
    let log = std::fs::File::create(edge.path("haproxy.log")).unwrap();
    Command::new("haproxy")
        .args(["-db", "-f", edge.path("haproxy.cfg").to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("haproxy starts; `make fleet` installs it")
}

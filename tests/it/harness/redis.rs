//! Real Redis servers on free ports of loopback, in a temporary folder: one, or a cluster of six.

use redis::{Client, Cmd, FromRedisValue};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a cluster may take to form.
const PATIENCE: Duration = Duration::from_secs(30);
/// After so long without an answer a primary's replica takes over.
const NODE_TIMEOUT_MS: u32 = 2000;

/// One server. Dropping it ends it.
pub struct Server {
    pub port: u16,
    arguments: Vec<String>,
    child: Child,
}

impl Server {
    fn start(folder: &TempDir, port: u16, more: &[String]) -> Self {
        let home = folder.path().join(port.to_string());
        std::fs::create_dir_all(&home).unwrap();
        let mut arguments: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            .into_iter()
            .chain(["--maxmemory-policy", "volatile-lfu", "--daemonize", "no", "--logfile", "log"])
            .map(str::to_owned)
            .collect();
        arguments.extend([
            "--port".to_owned(),
            port.to_string(),
            "--dir".to_owned(),
            home.display().to_string(),
        ]);
        arguments.extend_from_slice(more);
        let child = spawn(&arguments);
        Self { port, arguments, child }
    }

    /// Sends a signal, such as `STOP`, `CONT` or `KILL`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Starts it again after it was killed; it has lost everything.
    pub fn restart(&mut self) {
        let _ = self.child.wait();
        self.child = spawn(&self.arguments);
    }

    /// Runs a command, on a connection of its own.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await
    }

    async fn until(&self, what: &str, words: &[&str], fits: impl Fn(&str) -> bool) {
        let began = Instant::now();
        loop {
            let answer = self.command::<String>(words).await;
            if answer.as_deref().is_ok_and(&fits) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{} is not {what}: {answer:?}", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts; `make test` installs it")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Servers that make one store.
pub struct Redis {
    pub servers: Vec<Server>,
    folder: TempDir,
    cluster: bool,
}

impl Redis {
    /// One server.
    pub async fn standalone() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder, free_ports(1)[0], &[]);
        server.until("up", &["PING"], |answer| answer == "PONG").await;
        Self { servers: vec![server], folder, cluster: false }
    }

    /// A cluster of three primaries, the first three, each with one replica: server 3 is of server 0.
    pub async fn cluster() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(12);
        let start = |at: usize| {
            let more = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port"];
            let mut more: Vec<String> = more.into_iter().map(str::to_owned).collect();
            more.extend([
                ports[6 + at].to_string(),
                "--cluster-node-timeout".to_owned(),
                NODE_TIMEOUT_MS.to_string(),
            ]);
            more.extend(["--repl-diskless-sync-delay", "0"].map(str::to_owned));
            Server::start(&folder, ports[at], &more)
        };
        let servers: Vec<Server> = (0..6).map(start).collect();
        for server in &servers {
            server.until("up", &["PING"], |answer| answer == "PONG").await;
        }
        for (at, (first, last)) in [(0, 5460), (5461, 10_922), (10_923, 16_383)].into_iter().enumerate() {
            let (first, last) = (first.to_string(), last.to_string());
            let slots = ["CLUSTER", "ADDSLOTSRANGE", &first, &last];
            servers[at].command::<()>(&slots).await.unwrap();
        }
        for (at, server) in servers.iter().enumerate() {
            let epoch = (at + 1).to_string();
            server.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await.unwrap();
        }
        for at in 1..6 {
            let (port, bus) = (ports[at].to_string(), ports[6 + at].to_string());
            servers[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.unwrap();
        }
        let whole = |answer: &str| {
            answer.lines().filter(|line| !line.contains("handshake") && line.contains("connected")).count()
                == 6
        };
        for server in &servers {
            server.until("acquainted", &["CLUSTER", "NODES"], whole).await;
        }
        for at in 3..6 {
            let primary: String = servers[at - 3].command(&["CLUSTER", "MYID"]).await.unwrap();
            servers[at].command::<()>(&["CLUSTER", "REPLICATE", &primary]).await.unwrap();
        }
        for server in &servers {
            server.until("ready", &["CLUSTER", "INFO"], |answer| answer.contains("cluster_state:ok")).await;
            let replicas = |answer: &str| answer.lines().filter(|line| line.contains("slave")).count() == 3;
            server.until("aware of replicas", &["CLUSTER", "NODES"], replicas).await;
        }
        for server in &servers[3..] {
            let linked = |answer: &str| answer.contains("master_link_status:up");
            server.until("a replica", &["INFO", "replication"], linked).await;
        }
        Self { servers, folder, cluster: true }
    }

    /// One server with TLS for the user `kvsedge`, who has no more rights than needed. `ca.crt` and `password` are
    /// in its folder; the port of [`Server`] is without TLS, for administrators. Gives the port with TLS too.
    pub async fn with_tls() -> (Self, u16) {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("ca.crt"), certified.cert.pem()).unwrap();
        std::fs::write(path("server.key"), certified.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("password"), "first").unwrap();
        let ports = free_ports(2);
        let (certificate, key) =
            (path("ca.crt").display().to_string(), path("server.key").display().to_string());
        let settings =
            ["--tls-port", &ports[1].to_string(), "--tls-cert-file", &certificate, "--tls-key-file", &key]
                .into_iter()
                .chain(["--tls-ca-cert-file", &certificate, "--tls-auth-clients", "no"])
                .map(str::to_owned)
                .collect::<Vec<_>>();
        let server = Server::start(&folder, ports[0], &settings);
        server.until("up", &["PING"], |answer| answer == "PONG").await;
        let rights = [
            "ACL",
            "SETUSER",
            "kvsedge",
            "on",
            ">first",
            "~kvse:*",
            "-@all",
            "+@read",
            "+@write",
            "+@scripting",
            "+@connection",
            "+cluster|slots",
            "+cluster|shards",
            "+cluster|nodes",
            "+cluster|info",
            "+time",
            "+ping",
            "+info",
            "-@dangerous",
            "-@admin",
            "-keys",
            "-flushall",
            "-flushdb",
            "+info",
        ];
        server.command::<()>(&rights).await.unwrap();
        (Self { servers: vec![server], folder, cluster: false }, ports[1])
    }

    /// A primary, its replica, and one sentinel that watches them; in this order.
    pub async fn with_sentinel() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(3);
        let primary = Server::start(&folder, ports[0], &[]);
        let more = ["--replicaof", "127.0.0.1", &ports[0].to_string(), "--repl-diskless-sync-delay", "0"];
        let replica = Server::start(&folder, ports[1], &more.map(str::to_owned));
        replica
            .until("a replica", &["INFO", "replication"], |said| said.contains("master_link_status:up"))
            .await;
        let file = folder.path().join("sentinel.conf");
        let watch = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor kvs 127.0.0.1 {} 1\nsentinel down-after-milliseconds kvs 1000\n\
             sentinel failover-timeout kvs 5000\n",
            ports[2], ports[0]
        );
        std::fs::write(&file, watch).unwrap();
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let sentinel = Server { port: ports[2], child: spawn(&arguments), arguments };
        let knows = |said: &str| said.contains("slaves=1");
        sentinel.until("aware of the replica", &["INFO", "sentinel"], knows).await;
        Self { servers: vec![primary, replica, sentinel], folder, cluster: false }
    }

    /// The table `[cache.shared]` for it, with `more` at its end.
    pub fn settings(&self, more: &str) -> String {
        let nodes: Vec<String> =
            self.servers.iter().map(|server| format!("\"redis://127.0.0.1:{}\"", server.port)).collect();
        let mode = if self.cluster { "cluster" } else { "standalone" };
        format!("[cache.shared]\nnodes = [{}]\nmode = \"{mode}\"\n{more}\n", nodes.join(", "))
    }

    /// The same as settings of the library.
    pub fn config(&self, more: &str) -> kvs_edge::fleet::Config {
        let text = self.settings(more);
        toml::from_str(text.trim_start_matches("[cache.shared]\n")).unwrap()
    }

    /// Everything that all primaries hold, as `(server, key, dump)`.
    pub async fn keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        for server in &self.servers {
            found.extend(server.command::<Vec<String>>(&["KEYS", "*"]).await.unwrap_or_default());
        }
        found.sort();
        found.dedup();
        found
    }

    /// Which server is the primary of a key's slot now.
    pub async fn primary_of(&self, key: &str) -> usize {
        if !self.cluster {
            return 0;
        }
        for (at, server) in self.servers.iter().enumerate() {
            // Only the node that has the slot answers without a redirection.
            if server.command::<Option<String>>(&["OBJECT", "ENCODING", key]).await.is_ok() {
                return at;
            }
        }
        panic!("no server has the slot of {key}");
    }

    /// Where the servers keep their logs.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// Ports that nobody listens on, all different.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

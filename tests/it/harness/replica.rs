//! Replicas as processes of their own, which can be killed, beside the emulator and the settings of an
//! [`Edge`].

use super::edge::Edge;
use super::program::binary;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// One kvs-edge process. Dropping it kills the process.
pub struct Replica {
    child: Child,
    pub listen: u16,
    pub admin: u16,
}

/// A port of loopback that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Edge {
    /// Starts `count` processes with this edge's settings, keys and emulator, and these settings beside them;
    /// `number` names the file of their logs. Returns when all of them are ready.
    pub async fn replicas(&self, count: usize, settings: &[(&str, String)]) -> Vec<Replica> {
        let mut replicas = Vec::new();
        for number in 0..count {
            replicas.push(self.start_replica(number, settings));
        }
        for replica in &replicas {
            self.until_ready(replica).await;
        }
        replicas
    }

    /// Starts one.
    pub fn start_replica(&self, number: usize, settings: &[(&str, String)]) -> Replica {
        let (listen, admin) = (free_port(), free_port());
        let log = |name: &str| File::create(self.path(&format!("replica-{number}-{admin}.{name}"))).unwrap();
        let child = Command::new(binary())
            .args(["serve", "--config", self.path("edge.toml").to_str().unwrap()])
            .env("KVS_EDGE__SERVER__LISTEN", format!("127.0.0.1:{listen}"))
            .env("KVS_EDGE__ADMIN__LISTEN", format!("127.0.0.1:{admin}"))
            .env("KVS_EDGE__LOG__AUDIT", format!("file:audit-{number}-{admin}.log"))
            .envs(settings.iter().map(|(name, value)| (format!("KVS_EDGE__{name}"), value)))
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("err"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Replica { child, listen, admin }
    }

    pub async fn until_ready(&self, replica: &Replica) {
        self.until("a replica is ready", || async {
            let address = format!("127.0.0.1:{}", replica.admin);
            if tokio::net::TcpStream::connect(&address).await.is_err() {
                return false;
            }
            self.http.get(&format!("http://{address}/readyz"), &[]).await.status == 200
        })
        .await;
    }
}

impl Replica {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen)
    }

    /// SIGKILL, and waits for the process to be gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal by its name, such as `STOP`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("it ends").unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

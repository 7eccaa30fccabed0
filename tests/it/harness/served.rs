//! The real program, on settings in the folder of an edge that it shares emulator and issuer with.

use super::edge::Edge;
use super::program::binary;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A running program. It ends when this is dropped; `stdout.log` in the edge's folder has what it printed.
pub struct Served {
    pub url: String,
    pub admin: String,
    _child: Child,
}

impl Served {
    /// Starts it with a settings file of the folder and variables of the environment, and waits until it listens.
    pub async fn start(edge: &Edge, settings: &str, environment: &[(&str, &str)]) -> Self {
        let free = || -> SocketAddr { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let (public, admin) = (free(), free());
        let log = fs::File::create(edge.path("stdout.log")).unwrap();
        let child = Command::new(binary())
            .args(["serve", "--config", edge.path(settings).to_str().unwrap()])
            .env("KVS_EDGE__SERVER__LISTEN", public.to_string())
            .env("KVS_EDGE__ADMIN__LISTEN", admin.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for address in [admin, public] {
            edge.until("the program listens", || async {
                tokio::net::TcpStream::connect(address).await.is_ok()
            })
            .await;
        }
        Self { url: format!("http://{public}"), admin: format!("http://{admin}"), _child: child }
    }
}

//! The admin listener on a thread and a runtime of its own.
//!
//! What it shows goes through all series, sessions and viewers. On the runtime of clients that would hold up
//! their requests, and a busy runtime would hold up `/healthz`. What operators start (a reload, a purge, a
//! prefetch) uses connections and tasks of the clients' runtime, and runs there.

use super::program::App;
use crate::admin::{self, Admin, Config};
use crate::base::task::spawn_self_ending;
use crate::net::drain::Signal;
use crate::net::listener::{self, Bound};
use anyhow::Context;
use prometheus::proto::MetricFamily;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread, which listens already and serves once there is a program to show. It ends when the drain is
/// over or its owner is gone.
pub(super) struct AdminThread {
    start: oneshot::Sender<(Arc<App>, Signal)>,
    ended: oneshot::Receiver<()>,
    /// Where it listens.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Completes when the admin listener has closed its connections.
pub(super) type Ended = oneshot::Receiver<()>;

impl AdminThread {
    /// Starts the thread and listens.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no thread to be had.
    pub(super) async fn listen(config: &Config) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (bound, listening) = oneshot::channel();
        let (start, started) = oneshot::channel();
        let (held_while_serving, ended) = oneshot::channel();
        let (config, main) = (config.clone(), Handle::current());
        let serving = async move {
            let sockets = match listener::bind(&config.places()).await {
                Ok(sockets) => sockets,
                // The start that waits for it fails with this.
                Err(error) => return drop(bound.send(Err(error))),
            };
            // A start that has failed meanwhile is noticed by the next step.
            let _ = bound.send(Ok(sockets.addresses()));
            if let Ok((app, signal)) = started.await {
                serve(sockets, &config, app, main, signal).await;
            }
            drop(held_while_serving);
        };
        std::thread::Builder::new().name("admin".to_owned()).spawn(move || runtime.block_on(serving))?;
        let addresses = listening.await.context("the admin thread ended")??;
        Ok(Self { start, ended, addresses })
    }

    /// Begins to serve `app`, until `signal` says that the drain is over.
    pub(super) fn serve(self, app: Arc<App>, signal: Signal) -> Ended {
        // A thread that is gone shows in `ended`.
        let _ = self.start.send((app, signal));
        self.ended
    }
}

async fn serve(sockets: Bound, config: &Config, app: Arc<App>, main: Handle, signal: Signal) {
    admin::serve(sockets, config, Arc::new(Operated { app, main }), signal).await;
}

/// The program as the admin listener's runtime sees it.
struct Operated {
    app: Arc<App>,
    /// The runtime of clients.
    main: Handle,
}

impl Operated {
    /// Runs a task on the runtime of clients. It goes on if the operator's connection is closed.
    async fn on_main<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Result<T, String> {
        let running = {
            let _main = self.main.enter();
            spawn_self_ending(task)
        };
        running.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Admin for Operated {
    fn readiness(&self) -> Vec<String> {
        self.app.readiness()
    }

    fn notes(&self) -> Vec<String> {
        self.app.notes()
    }

    fn stalled(&self) -> Option<Duration> {
        self.app.heartbeat.stalled()
    }

    fn gather(&self) -> Vec<MetricFamily> {
        self.app.gateway().identity().show_metrics();
        self.app.show_state();
        self.app.persistent.registries.gather()
    }

    fn sessions(&self) -> Value {
        self.app.sessions()
    }

    fn config(&self) -> String {
        self.app.shown_config()
    }

    async fn purge(&self, stream: &str) -> Result<usize, String> {
        let (app, stream) = (self.app.clone(), stream.to_owned());
        self.on_main(async move { app.purge(&stream).await }).await
    }

    async fn reload(&self) -> Result<(), String> {
        let app = self.app.clone();
        self.on_main(async move { app.reload().await }).await
    }

    async fn warm(&self, request: Value) -> Result<Value, String> {
        let app = self.app.clone();
        self.on_main(async move { app.warm(&request) }).await
    }

    fn warming(&self) -> Value {
        self.app.persistent.warming.show()
    }
}

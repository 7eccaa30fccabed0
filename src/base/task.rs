//! Tasks that end: with their owner, or by themselves.

use tokio::task::JoinHandle;

/// A task that is aborted when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the task"]
pub struct OwnedTask(JoinHandle<()>);

impl OwnedTask {
    /// Starts a task.
    pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the owner that the rule asks for")]
        Self(tokio::spawn(task))
    }
}

/// Starts a task that ends by itself: its work has a deadline or ends with its last reader, or it holds its
/// owner by a weak reference and ends when that is gone. For work that continues when the request that began
/// it is dropped.
pub fn spawn_self_ending<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "the callers state what ends their tasks")]
    tokio::spawn(task)
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_task_ends_with_its_owner() {
        let (held, ended) = oneshot::channel::<()>();
        let task = OwnedTask::spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(task);
        assert!(ended.await.is_err(), "what the task held is dropped");
    }
}

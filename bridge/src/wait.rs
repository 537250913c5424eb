//! Branches of a driver's `select!` that may have nothing to wait for.

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Waits for a task; without one, for ever. The task is left in place: whoever applies its result
/// takes it away. Cancel safe.
///
/// # Panics
/// If the task panicked, or was aborted and yet waited for.
pub async fn join<T>(task: &mut Option<JoinHandle<T>>) -> T {
    match task {
        Some(handle) => handle
            .await
            .expect("a task of ours neither panics nor is awaited aborted"),
        None => std::future::pending().await,
    }
}

/// Waits until a moment; without one, for ever. Cancel safe.
pub async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! A host at one end of the link: a namespace, and a thread inside it that runs whatever belongs there.
//!
//! A socket and a child process belong to the namespace of the thread that made them. So everything that talks
//! to a server of this host, or starts a process on it, runs on the host's thread.

use std::future::Future;
use std::pin::Pin;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::netns::Namespace;

type Task = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A host. Dropping it ends what runs on its thread and removes the namespace.
#[derive(Debug)]
pub(crate) struct Host {
    // Dropped before the namespace goes.
    thread: Thread,
    namespace: Namespace,
}

impl Host {
    /// A host of that name, without a link yet.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let namespace = Namespace::create(name)?;
        let thread = Thread::start(name, namespace.name().to_owned())?;
        Ok(Self { thread, namespace })
    }

    /// Its namespace.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Runs something on the host and waits for it. When the wait is dropped, it goes on.
    pub(crate) async fn run<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let (done, result) = oneshot::channel();
        let task: Task = Box::new(move || {
            Box::pin(async move {
                let _ = done.send(make().await); // nobody waits any more
            })
        });
        self.thread
            .tasks
            .send(task)
            .ok()
            .context("the host's thread has ended")?;
        result.await.context("what ran on a host has panicked")?
    }
}

#[derive(Debug)]
struct Thread {
    tasks: mpsc::UnboundedSender<Task>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(name: &str, namespace: String) -> Result<Self> {
        let (tasks, inbox) = mpsc::unbounded_channel();
        let (entered, has_entered) = std::sync::mpsc::channel();
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let runtime = Namespace::enter(&namespace).and_then(|()| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    runtime.context("start a runtime")
                });
                match runtime {
                    Ok(runtime) => {
                        let _ = entered.send(Ok(()));
                        LocalSet::new().block_on(&runtime, serve(inbox));
                    }
                    Err(error) => drop(entered.send(Err(error))),
                }
            })?;
        has_entered
            .recv()
            .context("a host's thread has panicked")??;
        let handle = Some(handle);
        Ok(Self { tasks, handle })
    }
}

async fn serve(mut inbox: mpsc::UnboundedReceiver<Task>) {
    while let Some(task) = inbox.recv().await {
        tokio::task::spawn_local(task());
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.tasks = closed;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join(); // its panic has been reported on stderr
        }
    }
}

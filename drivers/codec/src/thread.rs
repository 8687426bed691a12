//! The thread of a transfer.

use tokio_util::task::TaskTracker;

/// Runs a transfer on a thread of its own. The tracker waits for it.
pub(crate) fn run(tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Handle::current();
    let token = tasks.token();
    let thread = std::thread::Builder::new().name("rigd:codec".into());
    let spawned = thread.spawn(move || {
        runtime.block_on(work);
        drop(token);
    });
    if let Err(error) = spawned {
        // The work is dropped, which both of its ends see as a broken transfer.
        tracing::error!(%error, "Cannot start a thread for a transfer.");
    }
}

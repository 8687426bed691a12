//! What an instance does when its device comes and goes: it is opened anew at once, and it notices
//! that the device it holds is gone.

use std::{path::PathBuf, time::Duration};

use rigd_driver::{OpenCx, OpenError};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Action, Class, DeviceMatch, Events, Found, Host, Uevent, Uevents};

/// How long udev may take to make a link after the kernel's event. Milliseconds when idle, more
/// while it settles a whole hub.
const LINK_LIMIT: Duration = Duration::from_secs(2);
/// First and longest pause between two looks for a link.
const LINK_LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// Has the instance opened again at once, while it is not ready, when a device of one of these
/// kinds comes. Call it before looking for the device, so that nothing falls between the two.
pub fn wake_on(cx: &OpenCx, classes: &'static [Class]) {
    let mut events = Uevents::subscribe();
    cx.wake_on(async move {
        loop {
            let event = events.next().await;
            if classes.iter().any(|class| event.may_bring(*class)) {
                return;
            }
        }
    });
}

impl DeviceMatch {
    /// Finds the device for `open`: absent, the instance is opened again when it comes. Cancel-safe.
    ///
    /// # Errors
    /// None or several match, or a path leads to something else.
    pub async fn locate(&self, class: Class, cx: &OpenCx) -> Result<Found, OpenError> {
        let host = Host::default();
        let events = Uevents::subscribe();
        let wanted = self.clone();
        if let Ok(places) = self.places(&host, class) {
            let links = places.into_iter().map(|(_, path)| path).collect();
            cx.wake_on(appears(events, class, links));
        }
        cx.blocking(move || Ok(host.find(&wanted, class)?)).await
    }
}

/// Resolves when a device of the kind came and udev had its time to make these links.
async fn appears(mut events: Events, class: Class, links: Vec<PathBuf>) {
    while !events.next().await.may_bring(class) {}
    let limit = Instant::now() + LINK_LIMIT;
    let made = async {
        let mut pause = LINK_LOOKS.0;
        // A look takes microseconds, so it may be made here.
        while !links.iter().all(|link| link.exists()) {
            sleep(pause).await;
            pause = (pause * 2).min(LINK_LOOKS.1);
        }
    };
    // Without its link the attempt says what is missing.
    timeout_at(limit, made).await.ok();
}

impl Found {
    /// Resolves when the device is gone, also when another one has its name by then. Of a pseudo
    /// terminal nothing is announced. Cancel-safe.
    pub async fn removed(&self) {
        self.removed_as_heard_by(Uevents::subscribe()).await;
    }

    /// Says that the instance lost its device as soon as it is gone.
    pub fn report_loss(&self, cx: &OpenCx) {
        let (found, health) = (self.clone(), cx.health().clone());
        let events = Uevents::subscribe();
        cx.tasks().spawn(async move {
            found.removed_as_heard_by(events).await;
            health.lost(format!("{found} was unplugged"));
        });
    }

    async fn removed_as_heard_by(&self, mut events: Events) {
        // Asked after the subscription: what happens from here on is announced.
        while self.is_current() {
            // The kernel announces a removal before it takes the directory away.
            if self.is_removed_by(&events.next().await) {
                return;
            }
        }
    }

    fn is_removed_by(&self, event: &Uevent) -> bool {
        let Uevent::Device(event) = event else {
            return false;
        };
        let devpath = event.devpath.trim_start_matches('/');
        let own = self.sysfs.as_deref();
        event.action == Action::Remove && own.is_some_and(|own| own.ends_with(devpath))
    }
}

#[cfg(test)]
mod tests;

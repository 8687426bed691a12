//! A line that an instance holds: taking it, the calls on it, and noticing that its chip went away.

use std::{io, sync::Arc, time::Duration};

use rigd_device::{Class, UsbMatch, wake_on};
use rigd_driver::{Call, DriverError, HealthHandle, OpenCx, OpenError};
use tokio::{runtime::Handle, sync::oneshot, time::timeout};
use tracing::info;

use crate::{
    config::{Bias, LineName},
    find::{Found, find, gone},
    line::{Chips, Direction, Level, Line, Request},
};

/// A chip on a bus that hangs must not hold its caller for ever. Setting a line takes microseconds,
/// milliseconds behind I2C.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// `GPIO_MAX_NAME_SIZE` of include/uapi/linux/gpio.h, with the zero byte at the end.
const CONSUMER: usize = 31;

/// What a line is taken with.
pub(crate) struct Wanted {
    pub(crate) device: Option<String>,
    pub(crate) usb: UsbMatch,
    pub(crate) line: LineName,
    pub(crate) direction: Direction,
    pub(crate) bias: Bias,
    pub(crate) active_low: bool,
}

/// A line that is held.
pub(crate) struct Held {
    line: Arc<dyn Line>,
    found: Found,
    health: HealthHandle,
}

impl Held {
    /// Finds and takes the line. From then on a removal of its chip makes the instance absent.
    pub(crate) async fn take<C: Chips>(wanted: Wanted, cx: &OpenCx) -> Result<Self, OpenError> {
        wake_on(cx, &[Class::Gpio]);
        let consumer = consumer(cx.exporter(), cx.path());
        let runtime = Handle::current();
        let take = move || {
            let found = find::<C>(wanted.device.as_deref(), &wanted.usb, &wanted.line)?;
            let request = Request {
                chip: found.chip.clone(),
                offset: found.offset,
                consumer,
                direction: wanted.direction,
                bias: wanted.bias,
                active_low: wanted.active_low,
                device: found.device.clone(),
            };
            // The runtime of the exporter serves the line's edges.
            let _entered = runtime.enter();
            match C::take(&request) {
                // The line is of the chip that was found, unless another one took its file.
                Ok(line) => match &found.device {
                    Some(device) if !device.is_current() => Err(OpenError::Absent(removed(&found))),
                    _ => Ok((line, found)),
                },
                Err(error) => Err(cannot_take::<C>(&found, &error)),
            }
        };
        let (line, found) = cx.blocking(take).await?;
        let held = Self {
            line,
            found,
            health: cx.health().clone(),
        };
        let (line, health) = (held.line.clone(), held.health.clone());
        let reason = held.lost();
        cx.tasks().spawn(async move {
            line.removed().await;
            health.lost(reason);
        });
        Ok(held)
    }

    pub(crate) fn line(&self) -> &Arc<dyn Line> {
        &self.line
    }

    pub(crate) fn offset(&self) -> u32 {
        self.found.offset
    }

    /// For messages: `line 0 ("relay1") of gpiochip0 (relays)`.
    pub(crate) fn place(&self) -> &str {
        &self.found.place
    }

    pub(crate) fn health(&self) -> &HealthHandle {
        &self.health
    }

    pub(crate) fn lost(&self) -> String {
        removed(&self.found)
    }

    /// Switches the line for a call.
    pub(crate) async fn switch(&self, call: &Call, level: Level) -> Result<(), DriverError> {
        let pin = self.on_thread(call, "set", set_and_get(level)).await?;
        self.tell(call.method(), pin);
        Ok(())
    }

    /// Switches the line for what is no call, or has no turn on the device's thread. Gives what the
    /// pin reads then.
    pub(crate) async fn switch_apart(&self, level: Level) -> Result<Level, DriverError> {
        let pin = self.apart("set", set_and_get(level)).await?;
        let method = match level {
            Level::Active => "on",
            Level::Inactive => "off",
        };
        self.tell(method, pin);
        Ok(pin)
    }

    /// What the pin reads, for what is no call.
    pub(crate) async fn read_apart(&self) -> Result<Level, DriverError> {
        self.apart("read", |line| line.get()).await
    }

    // Clients' logs have these words of the Python driver.
    fn tell(&self, method: &str, pin: Level) {
        let name = self.found.name.as_deref().unwrap_or("unnamed");
        let (offset, pin) = (self.found.offset, pin.word());
        info!("line {offset} ({name}) {method}() -> pin reads: {pin}");
    }

    /// What the pin reads, for a call.
    pub(crate) async fn read(&self, call: &Call) -> Result<Level, DriverError> {
        self.on_thread(call, "read", |line| line.get()).await
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        call: &Call,
        verb: &str,
        job: impl FnOnce(&dyn Line) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let line = self.line.clone();
        let work = call.blocking(move |_| Ok(job(&*line)));
        match timeout(ANSWER, work).await {
            Ok(Ok(outcome)) => outcome.map_err(|error| self.failed(verb, &error)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.hangs(verb)),
        }
    }

    async fn apart<T: Send + 'static>(
        &self,
        verb: &str,
        job: impl FnOnce(&dyn Line) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let line = self.line.clone();
        let (tx, rx) = oneshot::channel();
        // A thread of its own: one that hangs must neither use up a pool nor hold up the shutdown.
        // It keeps the line, so the instance is not opened again before it is over.
        let thread = std::thread::Builder::new().name("rigd:gpio".into());
        let work = move || {
            let outcome = job(&*line);
            // Before the outcome is known: who closes the instance then finds the line free.
            drop(line);
            // Nobody listens any more after the limit.
            tx.send(outcome).ok();
        };
        thread
            .spawn(work)
            .map_err(|e| DriverError::Exhausted(format!("cannot start a thread: {e}")))?;
        match timeout(ANSWER, rx).await {
            Ok(Ok(outcome)) => outcome.map_err(|error| self.failed(verb, &error)),
            Ok(Err(_)) => Err(DriverError::Device(format!(
                "cannot {verb} {}",
                self.place()
            ))),
            Err(_) => Err(self.hangs(verb)),
        }
    }

    /// An error of the line, which is lost if it says so.
    pub(crate) fn failed(&self, verb: &str, error: &io::Error) -> DriverError {
        if gone(error) {
            self.health.lost(self.lost());
            return DriverError::Unavailable(self.lost());
        }
        DriverError::io(format_args!("cannot {verb} {}", self.found.place), error)
    }

    fn hangs(&self, verb: &str) -> DriverError {
        let limit = ANSWER.as_secs();
        let text = format!("cannot {verb} {}: no answer in {limit} s", self.found.place);
        self.health.faulty(text.clone());
        DriverError::Timeout(text)
    }
}

fn set_and_get(level: Level) -> impl FnOnce(&dyn Line) -> io::Result<Level> + Send + 'static {
    move |line| {
        line.set(level)?;
        line.get()
    }
}

fn removed(found: &Found) -> String {
    format!("{} is gone: its chip was removed", found.place)
}

fn cannot_take<C: Chips>(found: &Found, error: &io::Error) -> OpenError {
    let place = &found.place;
    if error.kind() == io::ErrorKind::ResourceBusy {
        let holder = C::holder(&found.chip, found.offset).ok().flatten();
        let holder = match holder.as_deref() {
            Some("") => "somebody who gives no name".to_owned(),
            Some(name) => format!("{name:?}"),
            None => "somebody who has just let it go".to_owned(),
        };
        return OpenError::Faulty(format!("{place} is held by {holder}"));
    }
    if gone(error) {
        return OpenError::Absent(removed(found));
    }
    OpenError::Faulty(format!("cannot take {place}: {error}"))
}

/// What other programs see as the holder: the end of the path tells instances apart.
fn consumer(exporter: &str, path: &str) -> String {
    let full = format!("rigd {exporter}/{path}");
    if full.len() <= CONSUMER {
        return full;
    }
    let room = CONSUMER - "rigd ..".len();
    let mut tail = path;
    while tail.len() > room {
        let mut chars = tail.chars();
        chars.next();
        tail = chars.as_str();
    }
    match tail.len() == path.len() {
        true => format!("rigd {tail}"),
        false => format!("rigd ..{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::consumer;

    #[test]
    fn the_consumer_fits_into_the_kernels_field() {
        assert_eq!(consumer("board-1", "power"), "rigd board-1/power");
        let long = consumer("a-rather-long-exporter-name", "relays.power");
        assert_eq!(long, "rigd relays.power");
        let longer = consumer("e", "hub1.second-board.relays.power");
        assert_eq!(longer, "rigd ..econd-board.relays.power");
        assert!(longer.len() <= 31, "{longer}");
    }
}

//! The host's chips, through the kernel's character device (GPIO_V2, Linux 5.10 and later).
//!
//! The only file that knows `gpiocdev`.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use gpiocdev::line::{self as cdev, EdgeDetection, EdgeKind};
use gpiocdev_uapi as uapi;
use rigd_device::{Class, DeviceMatch, Found};
use rigd_driver::async_trait;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::io::unix::AsyncFd;

use crate::{
    config::{Bias, Drive},
    line::{Chip, Chips, Direction, Edge, Level, Line, Request},
    readable::readable,
};

/// Edges that the kernel keeps for us. The oldest are dropped, and only the newest of each kind
/// count, so this only has to be more than a bouncing contact makes in a millisecond.
const KEPT_EDGES: u32 = 64;

/// The chips of this host.
#[derive(Debug)]
pub struct Kernel;

impl Chips for Kernel {
    fn list() -> io::Result<Vec<PathBuf>> {
        gpiocdev::chip::chips().map_err(to_io)
    }

    fn describe(path: &Path) -> io::Result<Chip> {
        let chip = gpiocdev::Chip::from_path(path).map_err(to_io)?;
        let info = chip.info().map_err(to_io)?;
        let lines = chip.line_info_iter().map_err(to_io)?;
        let lines = lines.map(|line| {
            let name = line.map_err(to_io)?.name;
            Ok((!name.is_empty()).then_some(name))
        });
        Ok(Chip {
            path: chip.path().to_owned(),
            name: info.name,
            label: info.label,
            lines: lines.collect::<io::Result<_>>()?,
            device: DeviceMatch::path(path).find(Class::Gpio).ok(),
        })
    }

    fn holder(path: &Path, offset: u32) -> io::Result<Option<String>> {
        let chip = gpiocdev::Chip::from_path(path).map_err(to_io)?;
        let info = chip.line_info(offset).map_err(to_io)?;
        Ok(info.used.then_some(info.consumer))
    }

    fn take(request: &Request) -> io::Result<Arc<dyn Line>> {
        let (taken, edges) = match request.direction {
            Direction::Output(..) => (ask(request, false)?, false),
            Direction::Input => match ask(request, true) {
                Ok(taken) => (taken, true),
                // The line cannot interrupt: it can be read nevertheless.
                Err(error) if cannot_interrupt(&error) => (ask(request, false)?, false),
                Err(error) => return Err(error),
            },
        };
        let flags = fcntl_getfl(&taken)?;
        fcntl_setfl(&taken, flags | OFlags::NONBLOCK)?;
        Ok(Arc::new(Taken {
            ready: readable(taken.as_fd().try_clone_to_owned()?)?,
            line: taken,
            edges,
            device: request.device.clone(),
        }))
    }
}

/// Asks the kernel for the line. The level of an output is part of the question, so that the pin
/// never has another one.
fn ask(request: &Request, edges: bool) -> io::Result<gpiocdev::Request> {
    let mut builder = gpiocdev::Request::builder();
    builder
        .on_chip(&request.chip)
        .with_line(request.offset)
        .with_consumer(&request.consumer);
    match request.direction {
        Direction::Output(level, drive) => {
            builder.as_output(value(level)).with_drive(match drive {
                Drive::PushPull => cdev::Drive::PushPull,
                Drive::OpenDrain => cdev::Drive::OpenDrain,
                Drive::OpenSource => cdev::Drive::OpenSource,
            });
        }
        Direction::Input => {
            builder.as_input();
            if edges {
                builder
                    .with_edge_detection(EdgeDetection::BothEdges)
                    .with_kernel_event_buffer_size(KEPT_EDGES);
            }
        }
    }
    builder.with_bias(match request.bias {
        Bias::AsIs => None,
        Bias::PullUp => Some(cdev::Bias::PullUp),
        Bias::PullDown => Some(cdev::Bias::PullDown),
        Bias::Disabled => Some(cdev::Bias::Disabled),
    });
    if request.active_low {
        builder.as_active_low();
    }
    builder.request().map_err(to_io)
}

/// What drivers answer for a line without interrupts: ENXIO in most cases.
fn cannot_interrupt(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::NXIO | Errno::NODEV | Errno::NOTSUP | Errno::INVAL)
    )
}

struct Taken {
    line: gpiocdev::Request,
    /// The same open file.
    ready: AsyncFd<OwnedFd>,
    edges: bool,
    device: Option<Found>,
}

#[async_trait]
impl Line for Taken {
    fn set(&self, level: Level) -> io::Result<()> {
        self.line.set_lone_value(value(level)).map_err(to_io)
    }

    fn get(&self) -> io::Result<Level> {
        let value = self.line.lone_value().map_err(to_io)?;
        Ok(match value {
            cdev::Value::Active => Level::Active,
            cdev::Value::Inactive => Level::Inactive,
        })
    }

    fn has_edges(&self) -> bool {
        self.edges
    }

    async fn edges(&self) -> io::Result<Vec<Edge>> {
        if !self.edges {
            return std::future::pending().await;
        }
        loop {
            let mut ready = self.ready.readable().await?;
            // cancel-safe: nothing waits between the reading and the return.
            if let Ok(read) = ready.try_io(|_| read_edges(&self.line)) {
                return read;
            }
        }
    }

    async fn removed(&self) {
        // The line itself does not say: before Linux 6.6 nothing wakes who polls a line whose chip
        // was removed.
        match &self.device {
            Some(device) => device.removed().await,
            // Calls still find out.
            None => std::future::pending().await,
        }
    }
}

fn read_edges(line: &gpiocdev::Request) -> io::Result<Vec<Edge>> {
    let size = line.edge_event_u64_size();
    let mut raw = vec![0; size * KEPT_EDGES as usize];
    let read = line.read_edge_events_into_slice(&mut raw).map_err(to_io)?;
    let edges = raw.chunks_exact(size).take(read / size).map(|raw| {
        let edge = line.edge_event_from_slice(raw).map_err(to_io)?;
        Ok(Edge {
            to: match edge.kind {
                EdgeKind::Rising => Level::Active,
                EdgeKind::Falling => Level::Inactive,
            },
            at: edge.timestamp_ns,
        })
    });
    edges.collect()
}

fn value(level: Level) -> cdev::Value {
    match level {
        Level::Active => cdev::Value::Active,
        Level::Inactive => cdev::Value::Inactive,
    }
}

/// The operating system's error, where there is one.
fn to_io(error: gpiocdev::Error) -> io::Error {
    match error {
        gpiocdev::Error::Os(errno) | gpiocdev::Error::Uapi(_, uapi::Error::Os(errno)) => {
            io::Error::from_raw_os_error(errno.0)
        }
        error => io::Error::other(error),
    }
}

//! What is done with a tty beside reading and writing: settings, output lines, breaks. All of it may
//! wait for a USB transfer.

#![allow(unsafe_code, reason = "modem lines and breaks are ioctls")]

use std::{io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use libc::{TIOCCBRK, TIOCM_DTR, TIOCM_RTS, TIOCMBIC, TIOCMBIS, TIOCSBRK, c_int};
use rigd_driver::DriverError;
use rustix::{
    io::Errno,
    ioctl::{NoArg, Opcode, Setter, ioctl},
    termios::{
        ControlModes, InputModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    },
};
use tokio::{
    sync::{Mutex, oneshot},
    time::timeout,
};

use crate::{
    settings::{FlowControl, Format, Parity, Settings},
    wire::Order,
};

/// How far the speed that a device sets may be from the one asked for: what a UART takes, which
/// samples the tenth bit of a character still inside of that bit, split between both sides.
const TOLERANCE_PERCENT: u64 = 2;

/// Does an order.
pub(crate) fn carry_out(fd: BorrowedFd<'_>, name: &str, order: Order) -> Result<(), DriverError> {
    match order {
        Order::Set(settings) => set(fd, name, &settings, false),
        Order::Dtr(level) => set_line(fd, TIOCM_DTR, level).map_err(known_words),
        Order::Rts(level) => set_line(fd, TIOCM_RTS, level).map_err(known_words),
        Order::Break(length) => send_break(fd, length).map_err(known_words),
    }
}

/// Clients know the words of Python's `OSError`.
fn known_words(error: Errno) -> DriverError {
    let number = error.raw_os_error();
    let text = io::Error::from(error).to_string();
    let text = text
        .strip_suffix(&format!(" (os error {number})"))
        .unwrap_or(&text);
    let text = format!("[Errno {number}] {text}");
    match error {
        Errno::IO | Errno::NXIO | Errno::NODEV => DriverError::Unavailable(text),
        _ => DriverError::Device(text),
    }
}

/// Raises or lowers an output line.
pub(crate) fn set_line(fd: BorrowedFd<'_>, line: c_int, level: bool) -> rustix::io::Result<()> {
    if level {
        // SAFETY: TIOCMBIS reads an int (tty_ioctl(4)).
        unsafe { ioctl(fd, Setter::<{ TIOCMBIS as Opcode }, c_int>::new(line)) }
    } else {
        // SAFETY: TIOCMBIC reads an int (tty_ioctl(4)).
        unsafe { ioctl(fd, Setter::<{ TIOCMBIC as Opcode }, c_int>::new(line)) }
    }
}

fn send_break(fd: BorrowedFd<'_>, length: Duration) -> rustix::io::Result<()> {
    // SAFETY: TIOCSBRK takes no argument (tty_ioctl(4)).
    unsafe { ioctl(fd, NoArg::<{ TIOCSBRK as Opcode }>::new())? };
    std::thread::sleep(length);
    // SAFETY: TIOCCBRK takes no argument (tty_ioctl(4)).
    unsafe { ioctl(fd, NoArg::<{ TIOCCBRK as Opcode }>::new()) }
}

/// Sets the tty raw and as `settings` say, and checks that the device took them. If not, everything
/// is as it was before. With `keep_lines` DTR and RTS keep their level when it is closed.
///
/// # Errors
/// The device, or its driver in the kernel, does something else.
pub(crate) fn set(
    fd: BorrowedFd<'_>,
    name: &str,
    settings: &Settings,
    keep_lines: bool,
) -> Result<(), DriverError> {
    let cannot = |error: Errno| {
        let error = io::Error::from(error);
        DriverError::io(format_args!("cannot set {name} to {settings}"), &error)
    };
    let before = tcgetattr(fd).map_err(cannot)?;
    let mut wanted = before.clone();
    shape(&mut wanted, settings);
    if keep_lines {
        wanted.control_modes -= ControlModes::HUPCL;
    }
    let took = wanted
        .set_speed(settings.baudrate)
        .and_then(|()| tcsetattr(fd, OptionalActions::Now, &wanted))
        .and_then(|()| tcgetattr(fd));
    let refused = match took {
        Ok(took) => match refusal(&took, settings) {
            None => return Ok(()),
            Some(what) => DriverError::Device(format!("{name} does not do {what}")),
        },
        Err(error) => cannot(error),
    };
    // What it was, it can be again; if not, the error above says enough.
    tcsetattr(fd, OptionalActions::Now, &before).ok();
    Err(refused)
}

fn shape(termios: &mut Termios, settings: &Settings) {
    use ControlModes as C;
    termios.make_raw();
    let Format {
        data_bits,
        parity,
        stop_bits,
    } = settings.format;
    let modes = &mut termios.control_modes;
    *modes -= C::CSIZE | C::CSTOPB | C::PARENB | C::PARODD | C::CMSPAR | C::CRTSCTS;
    // Without CLOCAL a missing carrier would be the end of the port.
    *modes |= C::CREAD | C::CLOCAL | size(data_bits) | parity_modes(parity);
    if stop_bits == 2 {
        *modes |= C::CSTOPB;
    }
    if settings.flow_control == FlowControl::RtsCts {
        *modes |= C::CRTSCTS;
    }
    let xon_xoff = InputModes::IXON | InputModes::IXOFF;
    termios.input_modes -= xon_xoff | InputModes::IXANY;
    if settings.flow_control == FlowControl::XonXoff {
        termios.input_modes |= xon_xoff;
    }
    // A read of nothing is then EAGAIN, not an end.
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
}

fn size(data_bits: u8) -> ControlModes {
    match data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    }
}

fn parity_modes(parity: Parity) -> ControlModes {
    use ControlModes as C;
    match parity {
        Parity::None => C::empty(),
        Parity::Odd => C::PARENB | C::PARODD,
        Parity::Even => C::PARENB,
        Parity::Mark => C::PARENB | C::PARODD | C::CMSPAR,
        Parity::Space => C::PARENB | C::CMSPAR,
    }
}

/// What of `settings` the device did not take.
fn refusal(took: &Termios, settings: &Settings) -> Option<String> {
    use ControlModes as C;
    let wanted = u64::from(settings.baudrate);
    let got = u64::from(took.output_speed());
    if wanted.abs_diff(got) * 100 > wanted * TOLERANCE_PERCENT {
        return Some(format!("{wanted} baud; it offers {got}"));
    }
    let Format {
        data_bits,
        parity,
        stop_bits,
    } = settings.format;
    let modes = took.control_modes;
    if modes & C::CSIZE != size(data_bits) {
        return Some(format!("{data_bits} data bits"));
    }
    if modes & (C::PARENB | C::PARODD | C::CMSPAR) != parity_modes(parity) {
        let parity = format!("{parity:?}").to_lowercase();
        return Some(format!("parity {parity}"));
    }
    if modes.contains(C::CSTOPB) != (stop_bits == 2) {
        return Some(format!("{stop_bits} stop bits"));
    }
    let hardware = settings.flow_control == FlowControl::RtsCts;
    if modes.contains(C::CRTSCTS) != hardware {
        return Some(
            if hardware {
                "RTS/CTS"
            } else {
                "without RTS/CTS"
            }
            .into(),
        );
    }
    None
}

/// Runs one thing at a time on a thread of its own. One that hangs costs a thread, and what comes
/// after it its time.
#[derive(Debug)]
pub(crate) struct OnThread {
    name: &'static str,
    turn: Arc<Mutex<()>>,
}

impl OnThread {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            turn: Arc::default(),
        }
    }

    /// Runs `work`, which once begun goes on to its end even when the future is dropped.
    ///
    /// # Errors
    /// It did not end in time, or could not begin; as a text.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let hangs = |_| format!("no answer of the device within {} s", limit.as_secs());
        let turn = self.turn.clone().lock_owned();
        let turn = timeout(limit, turn).await.map_err(hangs)?;
        let (done, result) = oneshot::channel();
        let span = tracing::Span::current();
        let work = move || {
            let outcome = span.in_scope(work);
            drop(turn);
            // Nobody listens any more after the limit.
            done.send(outcome).ok();
        };
        let thread = std::thread::Builder::new().name(self.name.into());
        thread
            .spawn(work)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let result = timeout(limit, result).await.map_err(hangs)?;
        result.map_err(|_| "it failed unexpectedly; the daemon's log has the place".into())
    }
}

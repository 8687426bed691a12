//! Single paths through the machine, and what must hold on every path.

use proptest::prelude::*;

use super::*;

fn image() -> Medium {
    Medium::Image("ab".repeat(32))
}

/// The machine with what a rig would know of it.
struct Bench {
    machine: Machine,
    screen: String,
    reading: Option<u64>,
    armed: Option<Duration>,
}

impl Bench {
    fn new() -> Self {
        Self {
            machine: Machine::new(Duration::from_millis(800)),
            screen: String::new(),
            reading: None,
            armed: None,
        }
    }

    fn step(&mut self, event: Event) -> String {
        if matches!(event, Event::Tick) {
            self.armed = None;
        }
        if matches!(event, Event::CardRead(read, _) if Some(read) == self.reading) {
            self.reading = None;
        }
        let mut printed = Vec::new();
        for effect in self.machine.step(event) {
            match effect {
                Effect::Print(bytes) => printed.extend(bytes),
                Effect::ReadCard(read) => {
                    assert_eq!(self.reading, None, "two reads at once");
                    self.reading = Some(read);
                }
                Effect::StopReading => assert!(self.reading.take().is_some()),
                Effect::Arm(after) => self.armed = Some(after),
                Effect::Disarm => self.armed = None,
            }
        }
        let printed = String::from_utf8_lossy(&printed).into_owned();
        self.screen.push_str(&printed);
        printed
    }

    fn read(&mut self, medium: Medium) -> String {
        let read = self.reading.expect("no read under way");
        self.step(Event::CardRead(read, medium))
    }

    fn booted() -> Self {
        let mut bench = Self::new();
        bench.step(Event::PowerOn);
        bench.read(image());
        while matches!(bench.machine.state, State::Booting { .. }) {
            assert!(bench.armed.is_some());
            bench.step(Event::Tick);
        }
        bench
    }

    fn type_in(&mut self, text: &str) -> String {
        self.step(Event::Input(text.as_bytes().to_vec()))
    }
}

#[test]
fn a_good_card_boots_to_the_login_prompt() {
    let bench = Bench::booted();
    let order = [
        "U-Boot",
        &format!("Image sha256:{}\r\n", "ab".repeat(32)),
        "Starting kernel",
        "Booting Linux",
        "mounted filesystem",
    ];
    let mut from = 0;
    for text in order {
        from += bench.screen[from..]
            .find(text)
            .unwrap_or_else(|| panic!("{text} is missing: {}", bench.screen));
    }
    assert!(bench.screen.ends_with("\r\nrpi4 login: "));
    assert_eq!(bench.armed, None);
}

#[test]
fn an_empty_card_is_looked_at_again_until_power_off_or_a_card() {
    let mut bench = Bench::new();
    bench.step(Event::PowerOn);
    for _ in 0..3 {
        assert_eq!(bench.read(Medium::Empty), "No bootable medium found\r\n");
        assert_eq!(bench.armed, Some(RETRY));
        bench.step(Event::Tick);
    }
    bench.read(Medium::Empty);
    bench.step(Event::Mux(Mux::Host));
    assert_eq!(bench.step(Event::Tick), "No bootable medium found\r\n");
    bench.step(Event::Mux(Mux::Dut));
    assert_eq!(bench.armed, None);
    assert!(bench.read(image()).contains("Image sha256:"));
    bench.step(Event::PowerOff);
    assert_eq!(bench.armed, None);
}

#[test]
fn an_incomplete_card_does_not_boot_until_power_was_off() {
    let mut bench = Bench::new();
    bench.step(Event::PowerOn);
    assert!(
        bench
            .read(Medium::Incomplete)
            .contains("image incomplete\r\n")
    );
    bench.step(Event::Mux(Mux::Host));
    bench.step(Event::Mux(Mux::Dut));
    bench.step(Event::PowerOn);
    assert_eq!(bench.reading, None);
    bench.step(Event::PowerOff);
    bench.step(Event::PowerOn);
    assert!(bench.reading.is_some());
}

#[test]
fn taking_the_card_stops_the_board_with_io_errors() {
    for position in [Mux::Host, Mux::Off] {
        let mut bench = Bench::booted();
        bench.type_in("root\n");
        let out = bench.step(Event::Mux(position));
        assert!(out.contains("I/O error"), "{out}");
        assert_eq!(bench.type_in("echo still there\n"), "");
        assert_eq!(bench.step(Event::Mux(Mux::Dut)), "");
    }
}

#[test]
fn the_result_of_a_read_that_was_given_up_counts_for_nothing() {
    let mut bench = Bench::new();
    bench.step(Event::PowerOn);
    let old = bench.reading.unwrap();
    bench.step(Event::PowerOff);
    bench.step(Event::PowerOn);
    assert_eq!(bench.step(Event::CardRead(old, image())), "");
    assert!(bench.read(Medium::Incomplete).contains("image incomplete"));
}

#[test]
fn reboot_boots_again_and_poweroff_stays_down_until_the_power_was_off() {
    let mut bench = Bench::booted();
    bench.type_in("root\n");
    assert!(bench.type_in("reboot\n").contains("Restarting system"));
    assert!(bench.read(image()).contains("Image sha256:"));
    let mut bench = Bench::booted();
    bench.type_in("root\n");
    assert!(bench.type_in("poweroff\n").contains("Power down"));
    assert_eq!(bench.step(Event::PowerOn), "");
    assert!(bench.machine.supply().voltage > 0.0);
    bench.step(Event::PowerOff);
    assert!(bench.step(Event::PowerOn).contains("U-Boot"));
}

#[test]
fn power_off_ends_a_burst_and_logs_out() {
    let mut bench = Bench::booted();
    bench.type_in("root\nburst 1000000\n");
    assert!(bench.step(Event::Tick).contains("burst 1\r\n"));
    assert!(bench.armed.is_some());
    bench.step(Event::PowerOff);
    assert_eq!(bench.armed, None);
    assert_eq!(bench.type_in("echo x\n"), "");
}

#[test]
fn a_burst_prints_every_line_once() {
    let mut bench = Bench::booted();
    let mut out = bench.type_in("root\nburst 5000\n");
    while bench.armed.is_some() {
        out += &bench.step(Event::Tick);
    }
    let lines: Vec<&str> = out.lines().filter(|l| l.starts_with("burst ")).collect();
    assert_eq!(lines.len(), 5000);
    assert_eq!(lines[4999], "burst 5000");
    assert!(out.ends_with("root@rpi4:~# "));
}

#[test]
fn logout_leaves_nothing_of_the_session() {
    let mut bench = Bench::booted();
    bench.type_in("root\nburst 100000\n");
    bench.type_in("half a li");
    assert_eq!(bench.step(Event::Logout), "\r\nrpi4 login: ");
    assert_eq!(bench.armed, None);
    assert!(!bench.type_in("ne\n").contains("not found"));
}

fn event() -> impl Strategy<Value = Event> {
    let medium = prop_oneof![
        Just(image()),
        Just(Medium::Empty),
        Just(Medium::Incomplete),
        Just(Medium::Error { offset: 4096 }),
    ];
    let typed = prop_oneof![
        Just(b"root\n".to_vec()),
        Just(b"\x03".to_vec()),
        Just(b"burst 3000\n".to_vec()),
        Just(b"\x03burst 9000\nreboot\n\x03reboot\n".to_vec()),
        Just(b"reboot\n".to_vec()),
        Just(b"poweroff\n".to_vec()),
        Just(b"cat\n".to_vec()),
        Just(vec![b'x'; 5000]),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        3 => Just(Event::PowerOn),
        1 => Just(Event::PowerOff),
        1 => prop_oneof![Just(Mux::Host), Just(Mux::Dut), Just(Mux::Off)].prop_map(Event::Mux),
        4 => (0u64..3, medium).prop_map(|(behind, m)| Event::CardRead(behind, m)),
        12 => Just(Event::Tick),
        6 => typed.prop_map(Event::Input),
        1 => Just(Event::Logout),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn invariants_hold_on_every_path(events in prop::collection::vec(event(), 1..120)) {
        let mut bench = Bench::new();
        for event in events {
            // Reads are answered by how many reads ago they began; 0 is the current one.
            let event = match event {
                Event::CardRead(behind, medium) => {
                    Event::CardRead(bench.machine.reads.saturating_sub(behind), medium)
                }
                // Rigs tick only when the timer is set.
                Event::Tick if bench.armed.is_none() => continue,
                event => event,
            };
            let before = bench.machine.state.clone();
            let current = bench.reading;
            let printed = bench.step(event.clone());
            let state = &bench.machine.state;

            if matches!(before, State::Off) && !matches!(event, Event::PowerOn) {
                prop_assert_eq!(&printed, "", "a board without power printed");
            }
            if matches!(event, Event::PowerOff) {
                prop_assert!(matches!(state, State::Off));
                prop_assert_eq!(&printed, "");
            }
            if printed.contains("Image sha256:") {
                prop_assert!(matches!(event, Event::CardRead(read, Medium::Image(_)) if Some(read) == current));
            }
            let uses_card = matches!(
                state, State::Reading(_) | State::Booting { .. } | State::Running { .. }
            );
            prop_assert!(!uses_card || bench.machine.mux == Mux::Dut);
            prop_assert_eq!(matches!(state, State::Reading(_)), bench.reading.is_some());
            let timed = match state {
                State::Waiting | State::Booting { .. } => true,
                State::Running { shell, .. } => shell.bursting(),
                State::Off | State::Reading(_) | State::Stopped => false,
            };
            prop_assert_eq!(timed, bench.armed.is_some(), "{:?}", state);
            if let State::Running { shell, .. } = state {
                prop_assert!(shell.held() <= 2 * crate::tty::MAX_LINE);
            }
            let on = bench.machine.supply().voltage > 0.0;
            prop_assert_eq!(on, !matches!(state, State::Off));
        }
    }
}

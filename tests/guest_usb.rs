//! The emulated USB devices of `tests/guest/usb` against the drivers of the kernel, without the daemon:
//! what a test of the daemon sees of them is true.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

#[path = "guest/rig.rs"]
mod rig;
mod support;

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::FileExt,
};

use rig::{Guest, Hardware};
use serde_json::json;

/// One boot for all of them. Kinds with several devices have a bus of their own.
const USB: &[&str] = &[
    "console=ftdi,serial=FT1",
    "sdwire=sdwire,size=16M,serial=bdgrd_sdwirec_522",
    "dutlink=dutlink,size=16M,serial=c415a913",
    "usbsdmux=usbsdmux,size=16M",
    "sdwire3=sdwire3,size=16M",
    "noyito=noyito,bus=0",
    "board=hid-relay,bus=0,serial=HW341",
    "ykush=ykush,bus=0,serial=YK21245",
    "hub=hub,usb3=1,bus=6",
    "stick=disk,size=16M,bus=0",
];

#[test]
fn kernel_drivers() {
    let hardware = Hardware {
        usb: USB,
        hub: Some("8M"),
        ..Hardware::default()
    };
    let Some(mut guest) = Guest::boot(&hardware) else {
        return;
    };
    a_console_records_its_settings(&mut guest);
    a_console_is_pulled_and_comes_back(&mut guest);
    relay_boards_take_reports(&mut guest);
    a_ykush_has_no_hid_driver(&mut guest);
    a_hub_takes_requests_for_its_ports(&mut guest);
    a_hub_without_power_loses_its_stick(&mut guest);
    an_sdwire_has_its_card_at_one_side(&mut guest);
    an_sdwire3_needs_its_driver(&mut guest);
    a_dutlink_is_one_device_and_a_stick(&mut guest);
    a_usbsdmux_is_switched_over_scsi(&mut guest);
    a_stick_fails_as_it_is_told(&mut guest);
    a_device_misbehaves_as_it_is_told(&mut guest);
}

fn a_console_records_its_settings(guest: &mut Guest) {
    let console = guest.usb("console");
    let tty = guest.until("node FT1 ttyUSB*");
    guest.run(&format!("guest-io tty {tty} 1500000 7E2"));
    guest.run(&format!("guest-io break {tty} 50"));
    let driven = guest.run(&format!("guest-io lines {tty} -dtr -rts"));
    assert_eq!(driven, "cts dsr dcd");
    let events = console.events();
    let seen = |wanted: serde_json::Value| {
        events.iter().any(|event| {
            let mut wanted = wanted.as_object().unwrap().iter();
            wanted.all(|(key, value)| event[key] == *value)
        })
    };
    for wanted in [
        json!({"event": "baud", "rate": 1_500_000}),
        json!({"event": "format", "bits": 7, "parity": "E", "stop": 2}),
        json!({"event": "break", "on": true}),
        json!({"event": "break", "on": false}),
        json!({"event": "dtr", "on": true}),
        json!({"event": "dtr", "on": false}),
        json!({"event": "rts", "on": false}),
    ] {
        assert!(seen(wanted.clone()), "no {wanted} in {events:#?}");
    }
    console.set(json!({"cts": false, "ri": true}));
    let driven = guest.run(&format!("guest-io lines {tty}"));
    assert_eq!(driven, "dsr dcd ri");
    console.set(json!({"cts": true, "ri": false}));

    let mut board = console.board();
    guest.run(&format!(
        "guest-io tty {tty} 115200 8N1; exec 5<>{tty}; printf 'hello board' >&5"
    ));
    let mut said = [0; 11];
    board.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello board");
    board.write_all(b"hello host\n").unwrap();
    assert_eq!(
        guest.run("read -rt 30 -u 5 line; echo \"$line\""),
        "hello host"
    );
    guest.run("exec 5>&-");
    guest.run("ls -d $(device FT1)/*:1.0/gpiochip*");
}

fn a_console_is_pulled_and_comes_back(guest: &mut Guest) {
    let console = guest.usb("console");
    guest.run("exec 5<$(node FT1 'ttyUSB*'); before=$SECONDS");
    console.unplug();
    // The reader is told at once, as by a hang-up.
    guest.run("! read -rt 40 -u 5 line");
    guest.run("((SECONDS < before + 30))");
    guest.run("exec 5>&-");
    guest.until("! node FT1 'ttyUSB*'");
    assert_eq!(console.state()["plugged"], json!(false));
    console.plug();
    guest.until("node FT1 'ttyUSB*'");
}

fn relay_boards_take_reports(guest: &mut Guest) {
    let noyito = guest.usb("noyito");
    guest.run("noyito=$(node TNOYITO '*/hidraw/hidraw*')");
    guest.run("guest-io report $noyito a00101a2");
    guest.run("guest-io report $noyito a00301a4");
    guest.run("guest-io report $noyito a00100a1");
    assert_eq!(
        noyito.texts("report", "data"),
        ["a00101a2", "a00301a4", "a00100a1"]
    );
    assert_eq!(noyito.state()["on"], json!([false, false, true, false]));
    let said = guest.run("guest-io report $noyito a00f02b1 /64");
    let text = "CH1:OFF\r\nCH2:OFF\r\nCH3:ON \r\nCH4:OFF\r\n";
    assert_eq!(said, format!("{:0<128}", hex(text.as_bytes())));

    let board = guest.usb("board");
    guest.run("board=$(node USBRelay2 '*/hidraw/hidraw*')");
    guest.run("guest-io feature $board ff02000000000000");
    assert_eq!(
        guest.run("guest-io feature $board /8"),
        format!("{}000002", hex(b"HW341"))
    );
    guest.run("guest-io feature $board fc00000000000000");
    assert_eq!(board.state()["on"], json!([false, false]));
    assert_eq!(
        board.texts("report", "data"),
        ["ff02000000000000", "fc00000000000000"]
    );
}

fn a_ykush_has_no_hid_driver(guest: &mut Guest) {
    // The kernel leaves it alone, so it is not for hidraw.
    guest.run("! node YK21245 '*/hidraw/hidraw*'");
    let off = format!("{:0<128}", "02");
    let said = guest.run(&format!("guest-io bulk 04d8:f2f7 0 02 {off} 81 /64"));
    assert_eq!(said, format!("{:0<128}", "0102"));
    let ykush = guest.usb("ykush");
    assert_eq!(ykush.state()["on"], json!([true, false, true]));
    assert_eq!(ykush.texts("report", "data"), [off]);
}

fn a_hub_takes_requests_for_its_ports(guest: &mut Guest) {
    let (usb2, usb3) = (guest.usb("hub"), guest.usb("hub.3"));
    for half in [&usb2, &usb3] {
        half.wait("powered ports", |_| {
            half.state()["power"] == json!([true, true, true, true])
        });
    }
    // The kernel knows which port is the other half of which.
    let peer = guest.run("ls -d /sys/bus/usb/devices/*-1:1.0/*-1-port2/peer");
    assert_eq!(peer.lines().count(), 2, "{peer}");
    // CLEAR_FEATURE and SET_FEATURE of PORT_POWER, to both.
    for ids in ["05e3:0610", "05e3:0626"] {
        guest.run(&format!("guest-io control {ids} 23 01 08 02"));
    }
    for half in [&usb2, &usb3] {
        assert_eq!(half.state()["power"], json!([true, false, true, true]));
        let last = half.texts("control", "setup").pop();
        assert_eq!(last.as_deref(), Some("2301080002000000"));
    }
    let status = guest.run("guest-io control 05e3:0610 a3 00 00 02 /4");
    assert_eq!(status, "00000000");
    guest.run("guest-io control 05e3:0610 23 03 08 02");
    assert_eq!(
        guest.run("guest-io control 05e3:0610 a3 00 00 02 /4"),
        "00010000"
    );
}

/// QEMU's hub, as nothing can be behind the other. It reports no change after a request, so that the
/// kernel misses the stick only when it switches itself, by the port's `disable`.
fn a_hub_without_power_loses_its_stick(guest: &mut Guest) {
    let status = "guest-io control 0409:55aa a3 00 00 01 /4";
    guest.until("node GUEST0000 \"$disk\"");
    assert_eq!(guest.run(status), "03010000");
    guest.run("guest-io control 0409:55aa 23 01 08 01");
    assert_eq!(guest.run(status), "00000000");
    guest.run("guest-io control 0409:55aa 23 03 08 01");
    assert_eq!(guest.run(status), "03010000");
    guest.run("port=$(echo $(device 'QEMU USB Hub')/*:1.0/*-port1/disable); echo 1 >$port");
    guest.until("! node GUEST0000 \"$disk\"");
    assert_eq!(guest.run(status), "00000000");
    guest.run("echo 0 >$port");
    guest.until("node GUEST0000 \"$disk\"");
}

fn an_sdwire_has_its_card_at_one_side(guest: &mut Guest) {
    let reader = guest.usb("sdwire.reader");
    guest.run("card=$(node TSDWIRE.READER \"$disk\")");
    let said = guest.run("dd if=$card bs=512 count=1 2>&1 >/dev/null || :");
    assert!(said.contains("No medium found"), "{said}");
    guest.run("guest-io control 04e8:6001 40 0b 20f1 00");
    assert_eq!(guest.run("guest-io control 04e8:6001 c0 0c 00 00 /1"), "f1");
    guest.until("blockdev --getsize64 $card 2>/dev/null");
    guest.run(
        "printf 'written by the guest' | dd of=$card bs=512 seek=5 conv=sync oflag=direct 2>&1",
    );
    let mut block = [0; 20];
    let medium = File::open(reader.medium()).unwrap();
    medium.read_exact_at(&mut block, 5 * 512).unwrap();
    assert_eq!(&block, b"written by the guest");
    let last = reader.values("written", "last").pop();
    assert_eq!(last, Some(json!(6 * 512 - 1)));
    guest.run("guest-io control 04e8:6001 40 0b 20f0 00");
    guest.until("! blockdev --getsize64 $card 2>/dev/null");
    let moves = guest.usb("sdwire").texts("position", "position");
    assert_eq!(moves, ["host", "dut"]);
}

fn an_sdwire3_needs_its_driver(guest: &mut Guest) {
    let mux = guest.usb("sdwire3");
    guest.run("card3=$(node TSDWIRE3 \"$disk\")");
    assert_eq!(mux.state()["position"], json!("host"));
    guest.run("interface=$(device TSDWIRE3):1.0; interface=${interface##*/}");
    guest.run("echo $interface >/sys/bus/usb/drivers/usb-storage/unbind");
    guest.run("guest-io reset 1209:2404");
    mux.wait("card at the board", |events| {
        events.iter().any(|e| e["position"] == "dut")
    });
    guest.run("echo $interface >/sys/bus/usb/drivers/usb-storage/bind");
    guest.until("node TSDWIRE3 \"$disk\"");
    assert_eq!(mux.state()["position"], json!("host"));
}

fn a_dutlink_is_one_device_and_a_stick(guest: &mut Guest) {
    let (board, stick) = (guest.usb("dutlink"), guest.usb("dutlink.stick"));
    assert_eq!(stick.state()["plugged"], json!(false));
    let tty = guest.until("node c415a913 'tty/ttyACM*'");
    guest.run("guest-io control 2b23:1012 41 01 01 02");
    guest.run("guest-io control 2b23:1012 41 00 00 02");
    let power = guest.run("guest-io control 2b23:1012 c1 04 01 02 /512");
    assert_eq!(power, hex(b"5.10V 0.30A"));
    assert_eq!(board.texts("power", "state"), ["on"]);
    guest.run("guest-io control 2b23:1012 41 02 01 02");
    guest.until("node TDUTLINK.STICK \"$disk\"");
    guest.run("guest-io control 2b23:1012 41 02 02 02");
    guest.until("! node TDUTLINK.STICK \"$disk\"");
    assert_eq!(board.texts("position", "position"), ["host", "dut"]);

    let mut wire = board.board();
    guest.run(&format!(
        "guest-io tty {tty} 9600 8N1; exec 5<>{tty}; printf ping >&5"
    ));
    let mut said = [0; 4];
    wire.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ping");
    wire.write_all(b"pong\n").unwrap();
    assert_eq!(guest.run("read -rt 30 -u 5 line; echo \"$line\""), "pong");
    guest.run("exec 5>&-");
    assert!(board.values("line", "rate").contains(&json!(9600)));
}

fn a_usbsdmux_is_switched_over_scsi(guest: &mut Guest) {
    let mux = guest.usb("usbsdmux");
    guest.run("muxcard=$(node TUSBSDMUX \"$disk\"); generic=$(node TUSBSDMUX \"$sg\")");
    let zeros = |bytes| "00".repeat(bytes);
    let write = |register: &str, value: &str| {
        let cdb = format!("cf238200000200{}", zeros(9));
        format!("guest-io sg $generic {cdb} {register}{value}{}", zeros(510))
    };
    // Off, then all four are outputs; then to the host.
    guest.run(&write("01", "0b"));
    guest.run(&write("03", "00"));
    guest.run(&write("01", "00"));
    guest.until("blockdev --getsize64 $muxcard 2>/dev/null");
    let cdb = |addresses| format!("cf22{addresses}00010101{}", zeros(8));
    let read = guest.run(&format!("guest-io sg $generic {} /512", cdb("8283")));
    assert!(read.starts_with("00"), "{read}");
    guest.run(&write("01", "0f"));
    guest.run(&write("01", "0c"));
    assert_eq!(mux.texts("position", "position"), ["host", "off", "dut"]);
    let wrong = guest.run(&format!(
        "guest-io sg $generic {} /512 2>&1 || :",
        cdb("4041")
    ));
    assert_eq!(wrong, "status 2, sense 5 24");
}

fn a_stick_fails_as_it_is_told(guest: &mut Guest) {
    let stick = guest.usb("stick");
    guest.run("stick=$(node TSTICK \"$disk\")");
    let write = "dd if=/dev/zero of=$stick bs=64k count=16 oflag=direct 2>&1";
    guest.run(write);
    stick.set(json!({"error_at": 512 * 1024}));
    let said = guest.run(&format!("{write} || :"));
    assert!(said.contains("Input/output error"), "{said}");
    assert!(said.contains("8+0 records out"), "{said}");
    stick.set(json!({"error_at": null, "write_protected": true}));
    guest.until("[[ $(blockdev --getro $stick) == 1 ]]");
    stick.set(json!({"write_protected": false, "size": 4 << 20}));
    guest.until("[[ $(blockdev --getsize64 $stick) == 4194304 ]]");
    stick.set(json!({"size": 16 << 20, "rate": 1 << 20}));
    guest.until("[[ $(blockdev --getsize64 $stick) == 16777216 ]]");
    let began = std::time::Instant::now();
    guest.run(write);
    assert!(began.elapsed().as_secs_f64() > 0.9, "{:?}", began.elapsed());
    stick.set(json!({"rate": null, "present": false}));
    let said = guest.run(&format!("{write} || :"));
    assert!(said.contains("No medium found"), "{said}");
    stick.set(json!({"present": true, "unplug_at": 256 * 1024}));
    let said = guest.run(&format!("{write} || :"));
    assert!(said.contains("4+0 records out"), "{said}");
    guest.until("! node TSTICK \"$disk\"");
    stick.plug();
    guest.until("node TSTICK \"$disk\"");
}

fn a_device_misbehaves_as_it_is_told(guest: &mut Guest) {
    let board = guest.usb("board");
    board.refuse();
    let said = guest.run("guest-io feature $board ff01000000000000 2>&1 || :");
    assert!(said.contains("Broken pipe"), "{said}");
    // The kernel gives a control request five seconds.
    board.stall();
    let said = guest.run("guest-io feature $board ff01000000000000 2>&1 || :");
    assert!(said.contains("timed out"), "{said}");
    board.recover();
    guest.run("guest-io feature $board ff02000000000000");
    assert_eq!(board.state()["on"], json!([false, true]));
    let sent = board.texts("control", "data");
    let last: Vec<_> = sent.iter().rev().take(3).map(String::as_str).collect();
    let tried = "ff01000000000000";
    assert_eq!(last, ["ff02000000000000", tried, tried]);
    // In the middle of a request.
    board.set(json!({"answer": "unplug", "only": "control"}));
    guest.run("! guest-io feature $board ff01000000000000 2>/dev/null");
    guest.until("! device USBRelay2");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

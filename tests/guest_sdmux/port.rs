//! A stick behind a USB switch that follows the power of a hub's port.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use rigd_client::Exporter;
use serde_json::{Value, json};

use crate::{
    cards::{Image, MIB, storage},
    rig::{Guest, emulated::Usb},
    support::python::venv,
};

/// Of the hub's ports, from 0.
const PORT: usize = 1;
/// How often the switch looks at the power.
const LOOK: Duration = Duration::from_millis(20);

/// Plays the switch: the host has the stick as long as the port has power.
struct Switch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    fn start(hub: Usb, stick: Usb) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let follow = move || {
            let mut before = json!(false);
            while !stopped.load(Relaxed) {
                let powered = hub.state()["power"][PORT].take();
                if powered != before {
                    match powered == json!(true) {
                        true => stick.plug(),
                        false => stick.unplug(),
                    }
                    before = powered;
                }
                sleep(LOOK);
            }
        };
        let thread = Some(spawn(follow));
        Self { stop, thread }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // It has said what went wrong with it.
        self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) async fn the_power_of_a_port_switches_a_stick(
    guest: &mut Guest,
    exporter: &Exporter,
    dir: &Path,
) {
    let (hub, stick) = (guest.usb("hub"), guest.usb("port"));
    let _switch = Switch::start(guest.usb("hub"), guest.usb("port"));
    let card = storage(exporter, "port").await;
    let told = || -> Vec<Value> {
        let events = hub.events().into_iter();
        let port = events.filter(|e| e["event"] == "port" && e["number"] == json!(PORT + 1));
        port.map(|mut event| event["power"].take()).collect()
    };
    let gone = |_: &[Value]| stick.state()["plugged"] == json!(false);

    card.dut().await.unwrap();
    stick.wait("stick at the board", gone);
    let before = told().len();
    let image = Image::new(dir, 32, 4 * MIB);
    image.write(&card).await.unwrap();
    assert!(image.is_on(&stick.medium()));
    card.dut().await.unwrap();
    stick.wait("stick at the board", gone);
    guest.until("! node TPORT \"$disk\"");
    assert_eq!(told()[before..], [json!(true), json!(false)]);

    let Some(venv) = venv() else { return };
    let (image, dump) = (Image::new(dir, 33, 4 * MIB), dir.join("of-the-stick"));
    guest.flashed_and_dumped(venv, "port", &image.file, &dump);
    assert!(image.is_on(&stick.medium()) && image.is_on(&dump));
    stick.wait("stick at the board", gone);
}

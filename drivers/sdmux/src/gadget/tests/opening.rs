//! What an instance finds, makes and misses when it opens.

use std::fs;

use rigd_driver::Health;
use rustix::io::Errno;
use serde_json::json;

use super::{NAME, SIZE, config, fake::Fake, faulty, health};

#[tokio::test]
async fn a_gadget_is_made_in_the_kernels_order() {
    let fake = Fake::new(&["fe980000.usb"]);
    let given = json!({"gadget": "g", "serial": "S1", "readOnly": true});
    assert_eq!(health(config(&fake, given)).await, Health::Ready);
    let told = [
        "mkdir g",
        "0x1d6b > g/idVendor",
        "0x0104 > g/idProduct",
        "mkdir g/strings/0x409",
        "rigd > g/strings/0x409/manufacturer",
        "card > g/strings/0x409/product",
        "S1 > g/strings/0x409/serialnumber",
        "mkdir g/configs/c.1",
        "mkdir g/functions/mass_storage.rigd",
        "1 > g/functions/mass_storage.rigd/lun.0/removable",
        "0 > g/functions/mass_storage.rigd/lun.0/cdrom",
        "1 > g/functions/mass_storage.rigd/lun.0/ro",
        "link g/configs/c.1/mass_storage.rigd",
        "fe980000.usb > g/UDC",
    ];
    assert_eq!(fake.told(), told);
    // It stays when the instance is closed, and is as it was for the next one.
    let given = json!({"gadget": "g", "udc": "fe980000.usb"});
    assert_eq!(health(config(&fake, given)).await, Health::Ready);
    assert!(fake.told().is_empty());
    assert_eq!(fs::metadata(fake.path("card")).unwrap().len(), SIZE as u64);
}

#[tokio::test]
async fn a_host_without_what_it_takes_says_what_is_missing() {
    let fake = Fake::new(&[]);
    let Health::Absent(text) = health(config(&fake, json!({}))).await else {
        panic!("absent");
    };
    assert!(text.contains("no USB device controller"), "{text}");
    assert!(text.contains("dtoverlay=dwc2"), "{text}");

    let fake = Fake::new(&["a.usb", "b.usb"]);
    let none = health(config(&fake, json!({}))).await;
    faulty(
        &none,
        "several USB device controllers, a.usb, b.usb: write one as `udc`",
    );
    let Health::Absent(text) = health(config(&fake, json!({"udc": "c.usb"}))).await else {
        panic!("absent");
    };
    assert_eq!(
        text,
        "there is no USB device controller c.usb; there is a.usb, b.usb"
    );
    assert_eq!(
        health(config(&fake, json!({"udc": "b.usb"}))).await,
        Health::Ready
    );
    let moved = health(config(&fake, json!({"udc": "a.usb"}))).await;
    faulty(
        &moved,
        "is at the USB device controller b.usb, and `udc` names a.usb",
    );

    let fake = Fake::new(&["a.usb"]);
    fs::remove_dir(fake.gadgets()).unwrap();
    faulty(
        &health(config(&fake, json!({}))).await,
        "modprobe libcomposite",
    );
}

#[tokio::test]
async fn a_card_that_cannot_be_one_is_told() {
    let fake = Fake::new(&["a.usb"]);
    let unsized_file = || {
        let mut config = config(&fake, json!({}));
        config.size = None;
        config
    };
    faulty(
        &health(unsized_file()).await,
        "write `size`, e.g. `size: 8GiB`",
    );
    assert!(!fake.path("card").exists() && fake.told().is_empty());
    fs::write(fake.path("card"), "short").unwrap();
    faulty(&health(unsized_file()).await, "has 5 bytes");
    fs::write(fake.path("card"), vec![0; 1 << 20]).unwrap();
    assert_eq!(health(unsized_file()).await, Health::Ready);
    let file = fake.path("dir/card");
    let beside = config(&fake, json!({"file": file}));
    assert!(matches!(health(beside).await, Health::Absent(_)));
    fs::create_dir(fake.path("dir")).unwrap();
    let directory = config(&fake, json!({"file": fake.path("dir")}));
    faulty(&health(directory).await, "cannot open");
}

#[tokio::test]
async fn what_was_made_goes_when_the_rest_fails() {
    let fake = Fake::new(&["a.usb"]);
    fake.manner.lock().unwrap().refuses = Some(("lun.0/cdrom", Errno::IO));
    faulty(&health(config(&fake, json!({}))).await, "lun.0/cdrom: ");
    assert_eq!(fs::read_dir(fake.gadgets()).unwrap().count(), 0);
    // Another gadget has the controller: who, is told.
    fake.manner.lock().unwrap().refuses = None;
    assert_eq!(
        health(config(&fake, json!({"gadget": "one"}))).await,
        Health::Ready
    );
    let two = health(config(&fake, json!({"gadget": "two"}))).await;
    faulty(&two, "a.usb is taken: the gadget one has it");
    assert_eq!(fs::read_dir(fake.gadgets()).unwrap().count(), 1);
    assert_eq!(fake.told().last().unwrap(), "rmdir two");
}

#[tokio::test]
async fn who_may_not_make_a_gadget_is_told_where_to_read_on() {
    let fake = Fake::new(&["a.usb"]);
    for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
        fake.manner.lock().unwrap().refuses = Some(("g", errno));
        let refused = health(config(&fake, json!({"gadget": "g"}))).await;
        faulty(&refused, "usb_gadget/g: ");
        faulty(&refused, "root has to make the gadget");
        faulty(&refused, "docs/service.md");
    }
}

#[tokio::test]
async fn a_gadget_that_is_there_is_taken_as_it_is() {
    let fake = Fake::new(&["a.usb"]);
    let kernel = fake.kernel();
    // Somebody was ended in the middle of it: the rest is made.
    kernel
        .configfs
        .make_dir(&fake.gadgets().join(NAME))
        .unwrap();
    assert_eq!(health(config(&fake, json!({}))).await, Health::Ready);
    let functions = fake.gadgets().join(NAME).join("functions");
    assert!(functions.join("mass_storage.rigd").exists());
    // Two cards are one too many.
    let second = functions.join("mass_storage.other");
    kernel.configfs.make_dir(&second).unwrap();
    let several = health(config(&fake, json!({}))).await;
    faulty(
        &several,
        "several functions, mass_storage.other, mass_storage.rigd",
    );
    // One that is at work without a card is somebody else's.
    for function in [second, functions.join("mass_storage.rigd")] {
        fs::remove_dir_all(function).unwrap();
    }
    fs::create_dir(functions.join("ecm.0")).unwrap();
    let ethernet = health(config(&fake, json!({}))).await;
    faulty(&ethernet, "in use without a function mass_storage.*");
}

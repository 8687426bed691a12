//! What readers of an exporter's lines get, and what they are told when they lose some.

use super::*;

fn line(n: usize) -> LogLine {
    LogLine {
        severity: "INFO",
        message: n.to_string(),
        source: LogSource::Driver,
        driver_type: None,
        operation: None,
        fields: Vec::new(),
        time: SystemTime::UNIX_EPOCH,
    }
}

async fn take(reader: &mut LogReader, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.push(reader.next().await.unwrap().message);
    }
    lines
}

#[tokio::test]
async fn a_late_reader_gets_the_last_256_and_two_readers_get_everything() {
    let hub = Arc::new(LogHub::default());
    (0..400).for_each(|n| hub.push(line(n)));
    let (mut a, mut b) = (hub.reader(), hub.reader());
    (400..410).for_each(|n| hub.push(line(n)));
    let wanted: Vec<String> = (144..410).map(|n| n.to_string()).collect();
    assert_eq!(take(&mut a, 266).await, wanted);
    assert_eq!(take(&mut b, 266).await, wanted);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_what_it_lost() {
    let hub = Arc::new(LogHub::default());
    let mut reader = hub.reader();
    (0..KEPT + 10).for_each(|n| hub.push(line(n)));
    let lines = take(&mut reader, 2).await;
    assert_eq!(
        lines,
        ["10 log lines were lost: this reader is too slow", "10"]
    );
}

#[tokio::test]
async fn a_new_epoch_hides_the_past() {
    let hub = Arc::new(LogHub::default());
    hub.push(line(1));
    hub.new_epoch();
    let mut reader = hub.reader();
    hub.push(line(2));
    assert_eq!(take(&mut reader, 1).await, ["2"]);
}

fn printed(text: String) -> LogLine {
    LogLine {
        message: text,
        source: LogSource::BeforeLeaseHook,
        ..line(0)
    }
}

#[tokio::test]
async fn other_lines_never_push_out_what_a_hook_printed_and_the_order_stays() {
    let hub = Arc::new(LogHub::default());
    hub.push(line(0));
    hub.push(printed("first".into()));
    (1..KEPT + 10).for_each(|n| hub.push(line(n)));
    hub.push(printed("last".into()));
    hub.push(line(9999));
    let mut reader = hub.reader();
    let lines = take(&mut reader, 258).await;
    let others = (KEPT + 10 - 255..KEPT + 10).map(|n| n.to_string());
    let mut wanted = vec!["first".to_owned()];
    wanted.extend(others);
    wanted.extend(["last".to_owned(), "9999".to_owned()]);
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn a_flood_of_hook_output_is_bounded_counted_and_leaves_the_others_alone() {
    let hub = Arc::new(LogHub::default());
    hub.push(line(7));
    let text = |n: usize| format!("{n:01024}");
    (0..100).for_each(|n| hub.push(printed(text(n))));
    assert_eq!(hub.rings.lock().unwrap().hook.bytes, HOOK_BYTES);
    let lines = take(&mut hub.reader(), 66).await;
    assert_eq!(lines[0], "7");
    let told = "36 lines of hook output were dropped: too much to keep";
    assert_eq!(lines[1], told);
    assert_eq!(lines[2], text(36));
    assert_eq!(lines[65], text(99));

    (0..HOOK_LINES + 5).for_each(|_| hub.push(printed("y".into())));
    assert_eq!(hub.rings.lock().unwrap().hook.lines.len(), HOOK_LINES);
}

#[tokio::test]
async fn hook_output_of_an_earlier_lease_is_not_shown() {
    let hub = Arc::new(LogHub::default());
    hub.push(printed("theirs".into()));
    hub.new_epoch();
    hub.push(printed("mine".into()));
    assert_eq!(take(&mut hub.reader(), 1).await, ["mine"]);
}

#[tokio::test]
async fn a_collector_gets_the_records_and_every_lease_and_clients_get_no_records() {
    let hub = Arc::new(LogHub::default());
    let record = |n: usize| {
        let make = move || LogLine {
            message: format!("record {n}"),
            ..line(0)
        };
        hub.record(make);
    };
    hub.record(|| panic!("a record that nobody reads is not made"));
    hub.push(line(1));
    let mut collector = hub.collector();
    let mut client = hub.reader();
    hub.push(line(2));
    record(3);
    hub.new_epoch();
    hub.push(printed("4".into()));
    record(5);
    hub.push(line(6));
    let wanted = ["2", "record 3", "4", "record 5", "6"];
    assert_eq!(take(&mut collector, 5).await, wanted);
    assert_eq!(take(&mut client, 4).await, ["1", "2", "4", "6"]);

    drop(client);
    assert!(hub.is_collected());
    drop(collector);
    assert!(!hub.is_collected());
}

#[tokio::test]
async fn a_flood_of_records_leaves_the_lines_of_clients_alone() {
    let hub = Arc::new(LogHub::default());
    hub.push(line(1));
    let mut collector = hub.collector();
    (0..KEPT + 3).for_each(|_| hub.record(|| line(0)));
    assert_eq!(take(&mut hub.reader(), 1).await, ["1"]);
    let told = "3 records of operations were lost: too slow a reader";
    assert_eq!(take(&mut collector, 1).await, [told]);
}

//! What hooks print.

use super::*;

#[tokio::test]
async fn lines_are_trimmed_and_empty_ones_and_bad_bytes_are_taken() {
    let mut rig = rig();
    let script = r"printf '  a \t\n\n   \nb\377c\r\n'; echo err >&2; printf end";
    assert_eq!(rig.run(&hook(script)).await, Outcome::Done);
    let lines: Vec<_> = std::iter::from_fn(|| rig.reader.next().now_or_never().flatten()).collect();
    let texts: Vec<_> = lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(texts, ["  a", "b\u{fffd}c", "err", "end"]);
    for line in &lines {
        assert_eq!(line.severity, "INFO");
        assert_eq!(line.source, LogSource::BeforeLeaseHook);
    }
}

#[tokio::test]
async fn after_lease_has_a_log_source_of_its_own() {
    let mut rig = rig();
    let limits = Limits {
        run: SOON,
        grace: SOON,
    };
    rig.run_within(limits, &hook("echo x")).await;
    let line = rig.reader.next().now_or_never().flatten().unwrap();
    assert_eq!(line.source, LogSource::AfterLeaseHook);
}

#[tokio::test]
async fn a_flood_costs_bounded_memory_and_neither_kills_nor_blocks_the_hook() {
    let mut rig = rig();
    // One line of 10 MB, then 10 MB of lines.
    let script = "head -c 10000000 /dev/zero | tr '\\0' x; echo
        yes $(printf %0200d 7) | head -c 10000000; echo
        echo end";
    assert_eq!(rig.run(&hook(script)).await, Outcome::Done);
    let printed = rig.printed();
    assert!(printed[0].ends_with("lines of hook output were dropped: too much to keep"));
    assert_eq!(printed.last().unwrap(), "end");
    let bytes: usize = printed.iter().map(String::len).sum();
    assert!((32 * 1024..=65 * 1024).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_line_without_an_end_is_kept_to_a_bound() {
    let mut rig = rig();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x";
    assert_eq!(rig.run(&hook(script)).await, Outcome::Done);
    let printed = rig.printed();
    assert_eq!(printed.len(), 1);
    assert!(printed[0].len() < 8192 && printed[0].ends_with('…'));
}

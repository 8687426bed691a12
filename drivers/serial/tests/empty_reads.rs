//! Reads that give nothing: an empty line of a tty that somebody else has set, and the end after a
//! hang-up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod rig;

use std::process::Command;

use rig::{Board, Console, expect, read_to, send};
use rigd_driver::Health;

#[tokio::test]
async fn an_empty_line_is_no_end() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let mut stream = console.connect().await;
    // A program beside the daemon: lines, which Ctrl-D ends.
    board.set_lines(true);
    for _ in 0..3 {
        board.print(b"\x04").await;
    }
    board.print(b"after the empty ones\n").await;
    expect(&mut stream, "after the empty ones\n").await;
    board.set_lines(false);
    board.print(b"raw again").await;
    expect(&mut stream, "raw again").await;
    assert_eq!(console.instance.health(), Health::Ready);
}

#[tokio::test]
async fn a_port_that_hangs_up_is_opened_again() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let mut stream = console.connect().await;
    board.print(b"before").await;
    expect(&mut stream, "before").await;
    if !hang_up(&board) {
        return;
    }
    let link = board.path.display().to_string();
    let text = read_to(&mut stream, "; what is sent now is discarded]\r\n").await;
    assert!(text.contains(&format!("{link} was lost: ")), "{text}");
    let text = read_to(&mut stream, " s]\r\n").await;
    assert!(text.contains(&format!("{link} is back after ")), "{text}");
    board.print(b"after").await;
    expect(&mut stream, "after").await;
    send(&mut stream, "typed").await;
    assert_eq!(board.hear(5).await, b"typed");
}

/// Does to the tty what the kernel does to one whose adapter is gone: whoever has it open reads 0
/// bytes from now on. False where the machine does not allow it.
fn hang_up(board: &Board) -> bool {
    // TIOCVHANGUP, linux/include/uapi/asm-generic/ioctls.h; it wants CAP_SYS_ADMIN.
    let program = "import fcntl, os, sys\n\
                   fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY), 0x5437)";
    let python = Command::new("python3")
        .args(["-c", program])
        .arg(&board.path)
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&python.stderr);
    if python.status.success() {
        return true;
    }
    let required = std::env::var_os("RIGD_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "{said}");
    eprintln!("SKIPPED: {said}");
    false
}

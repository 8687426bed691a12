use std::{fs, path::Path};

use super::*;

const FILE: u64 = 64 * 1024;

fn config(directory: &Path) -> CaptureConfig {
    CaptureConfig {
        directory: directory.into(),
        max_file_size: FILE,
        quota: FILE * 3,
        timestamps: false,
    }
}

/// Contents of the files in the order of their names.
fn contents(directory: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| fs::read(name).unwrap())
        .collect()
}

fn text(directory: &Path) -> String {
    String::from_utf8(contents(directory).concat()).unwrap()
}

#[tokio::test]
async fn everything_comes_into_the_file_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut stamped = config(&dir.path().join("made/for/it"));
    stamped.timestamps = true;
    let capture = Capture::start(&stamped, "board 1.console").unwrap();
    let time = SystemTime::UNIX_EPOCH;
    capture.offer(time, b"log");
    capture.offer(time, b"in: ");
    capture.offer(time + Duration::from_secs(1), b"root\r\n$ ");
    capture.close().await;
    capture.offer(time, b"after the end");
    assert_eq!(
        text(&stamped.directory),
        "1970-01-01T00:00:00.000Z login: root\r\n1970-01-01T00:00:01.000Z $ "
    );
    let entry = fs::read_dir(&stamped.directory).unwrap().next().unwrap();
    let name = entry.unwrap().file_name().into_string().unwrap();
    assert!(
        name.starts_with("board_1.console-") && name.ends_with("Z.log"),
        "{name}"
    );
}

#[test]
fn files_rotate_and_the_oldest_go_to_keep_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = ["board-notes.log", "board2-20261129T224000.123Z.log"];
    for name in foreign {
        fs::write(dir.path().join(name), vec![b'f'; FILE as usize * 4]).unwrap();
    }
    fs::write(
        dir.path().join("board-20201129T224000.123Z.log"),
        vec![b'o'; FILE as usize * 2],
    )
    .unwrap();
    let mut files = Files::new(&config(dir.path()), "board");
    let block = |n: u8| vec![n; FILE as usize / 2];
    for n in 0..10 {
        files.write(&block(n)).unwrap();
        // File names have milliseconds.
        std::thread::sleep(Duration::from_millis(2));
        let own: usize = contents(dir.path()).iter().map(Vec::len).sum();
        let own = own as u64 - FILE * 8;
        assert!(own <= FILE * 3, "{own} after block {n}");
    }
    let kept: Vec<u8> = contents(dir.path())
        .into_iter()
        .filter(|content| content[0] < 10)
        .flatten()
        .collect();
    let wanted: Vec<u8> = (4..10).flat_map(block).collect();
    assert_eq!(kept, wanted, "the newest are kept, in order");
    for name in foreign {
        assert!(dir.path().join(name).exists(), "{name} is not ours");
    }
}

#[test]
fn a_write_that_is_longer_than_a_file_has_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::new(&config(dir.path()), "board");
    files.write(b"a").unwrap();
    std::thread::sleep(Duration::from_millis(2));
    files.write(&vec![b'b'; FILE as usize + 1]).unwrap();
    let sizes: Vec<_> = contents(dir.path()).iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, FILE as usize + 1]);
}

#[test]
fn what_does_not_fit_into_the_queue_is_told_where_it_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(Queue::default());
    // Nobody empties the queue, as if the disk hung.
    let capture = Capture {
        queue: queue.clone(),
        ended: Mutex::new(None),
    };
    let time = SystemTime::UNIX_EPOCH;
    capture.offer(time, &vec![b'a'; QUEUE - 1]);
    capture.offer(time, b"bc");
    capture.offer(time, b"de");
    capture.offer(time, b"f");
    drop(capture);
    let mut big = config(dir.path());
    big.max_file_size = QUEUE as u64 * 2;
    big.quota = QUEUE as u64 * 4;
    Writer::new(Files::new(&big, "board"), false).run(&queue);
    let text = text(dir.path());
    let tail = &text[QUEUE - 1..];
    assert_eq!(
        tail,
        "\r\n[rigd: 4 bytes were lost here: the disk was too slow]\r\nf"
    );
}

#[test]
fn a_directory_that_cannot_be_made_costs_what_comes_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("captures");
    // Also root cannot make a directory here.
    fs::write(&path, "in the way").unwrap();
    let mut writer = Writer::new(Files::new(&config(&path), "board"), false);
    writer.heard(SystemTime::now(), b"lost");
    writer.heard(SystemTime::now(), b"lost too");
    fs::remove_file(&path).unwrap();
    writer.heard(SystemTime::now(), b"not tried yet");
    std::thread::sleep(RETRY.0);
    writer.heard(SystemTime::now(), b"back\r\n");
    let text = text(&path);
    let shown = path.display();
    let start = format!("[rigd: 25 bytes were lost here: cannot make {shown}: ");
    assert!(text.trim_start().starts_with(&start), "{text}");
    assert!(text.ends_with("]\r\nback\r\n"), "{text}");
}

#[test]
fn configs_that_cannot_be_kept_are_refused() {
    let check = |change: fn(&mut CaptureConfig)| {
        let mut config = config(Path::new("/var/log/rigd"));
        change(&mut config);
        config.check().map_err(|error| error.key)
    };
    assert_eq!(check(|_| ()), Ok(()));
    let key = |key: &str| Err(format!("capture.{key}"));
    assert_eq!(check(|c| c.directory = "logs".into()), key("directory"));
    assert_eq!(check(|c| c.max_file_size = 1), key("maxFileSize"));
    assert_eq!(check(|c| c.quota = FILE), key("quota"));
}

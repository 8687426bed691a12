//! Serial ports that another program stands behind: `rfc2217://` against the server's side of the released
//! pyserial, and the demuxer of `serial.nvdemux`, which ends with the daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use rigd_client::{ByteChannel, Device};
use serde_json::{Value, json};
use support::{daemon::Listen, lines::Lines, python::venv, python_file, repository};
use traffic::rig::{Rig, within};

const SOON: Duration = Duration::from_secs(20);

/// The terminal server.
struct Server {
    child: Child,
    stdin: ChildStdin,
    said: Lines,
    port: u64,
}

impl Server {
    fn start() -> Option<Self> {
        let mut child = Command::new(venv()?.python())
            .arg(python_file("rfc2217_server.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Lines::default();
        said.collect(child.stdout.take().unwrap());
        let stdin = child.stdin.take().unwrap();
        let line = said.wait(SOON, |line| line.contains("port"));
        let line: Value = serde_json::from_str(&line.expect("a port")).unwrap();
        let port = line["port"].as_u64().unwrap();
        Some(Self {
            child,
            stdin,
            said,
            port,
        })
    }

    /// Waits until the port has been told these things after the ones before, whatever else it was
    /// told.
    fn told(&self, wanted: &[Value]) {
        let in_order = |lines: &[String]| {
            let mut wanted = wanted.iter().peekable();
            for line in lines {
                let line: Value = serde_json::from_str(line).unwrap();
                wanted.next_if_eq(&&line);
            }
            wanted.peek().is_none()
        };
        let heard = self.said.wait_all(SOON, in_order);
        heard.unwrap_or_else(|| panic!("not all of {wanted:?} in:\n{}", self.said.text()));
    }

    fn cut_the_connection(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
        self.stdin.flush().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn call(device: &Device, method: &str, args: Vec<Value>) -> Result<(), rigd_client::Error> {
    let called = device.call(method, args);
    within(SOON, method, called).await.map(drop)
}

/// Reads exactly that many bytes.
async fn hear(stream: &mut ByteChannel, length: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < length {
        let bytes = within(SOON, "bytes", stream.recv()).await.unwrap();
        heard.extend_from_slice(&bytes.expect("the port goes on"));
    }
    heard
}

#[tokio::test]
async fn bytes_settings_lines_breaks_and_a_connection_that_is_cut() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let yaml = format!(
        "metadata: {{name: remote}}\nexport:\n  console:\n    type: serial\n    config:\n      \
         url: rfc2217://127.0.0.1:{}?logging=info&timeout=5\n      baudrate: 57600\n",
        server.port
    );
    let mut rig = Rig::serve(&yaml, Listen::Unix);
    let client = rig.connect().await;
    let device = client.device("console").await.unwrap();
    let opened = [
        json!({"baudrate": 57600}),
        json!({"dtr": true}),
        json!({"rts": true}),
    ];
    server.told(&opened);

    // All bytes pass, those of Telnet as well.
    let mut stream = client.device("console").await.unwrap().console().open();
    within(SOON, "an opening", stream.opened()).await.unwrap();
    let bytes: Vec<u8> = (0..8192_u32).map(|n| (n % 256) as u8).collect();
    let bytes = [bytes, vec![255; 300], b"\r\0\r\n\xff\xfd\x00".to_vec()].concat();
    let sent = stream.send(Bytes::from(bytes.clone()));
    within(SOON, "sending", sent).await.unwrap();
    assert!(hear(&mut stream, bytes.len()).await == bytes);

    call(&device, "set_baudrate", vec![json!(3_000_000)])
        .await
        .unwrap();
    call(&device, "set_format", vec![json!("7E2")])
        .await
        .unwrap();
    call(&device, "set_flow_control", vec![json!("xonxoff")])
        .await
        .unwrap();
    call(&device, "set_dtr", vec![json!(false)]).await.unwrap();
    call(&device, "set_rts", vec![json!(false)]).await.unwrap();
    call(&device, "send_break", vec![json!(50)]).await.unwrap();
    server.told(&[
        opened[0].clone(),
        json!({"baudrate": 3_000_000}),
        json!({"format": "7E2"}),
        json!({"flow": "xonxoff"}),
        json!({"dtr": false}),
        json!({"rts": false}),
        json!({"break": true}),
        json!({"break": false}),
    ]);

    // The stream stays, and goes on when the connection is back; so do the settings.
    server.cut_the_connection();
    server.told(&[
        json!({"closed": true}),
        json!({"baudrate": 3_000_000}),
        json!({"dtr": false}),
    ]);
    let mut seen = String::new();
    while !seen.contains("is back after") {
        let bytes = within(SOON, "word of the gap", stream.recv())
            .await
            .unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes.expect("the port goes on")));
    }
    stream.send(Bytes::from_static(b"again")).await.unwrap();
    while !seen.ends_with("again") {
        let bytes = within(SOON, "the echo", stream.recv()).await.unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes.expect("the port goes on")));
    }
    drop((stream, device, client));
    rig.daemon.stop_cleanly();
}

#[tokio::test]
async fn a_demuxer_ends_with_a_daemon_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let script = repository().join("drivers/serial/tests/rig/demuxer.py");
    std::os::unix::fs::symlink(script, at("demuxer")).unwrap();
    std::fs::write(at("targets"), "CCPLEX: 0\n").unwrap();
    std::fs::write(at("port"), "").unwrap();
    let yaml = format!(
        "metadata: {{name: thor}}\nexport:\n  console:\n    \
         type: jumpstarter_driver_pyserial.nvdemux.driver.NVDemuxSerial\n    \
         config: {{demuxer_path: {}, device: {}}}\n",
        at("demuxer").display(),
        at("port").display()
    );
    let mut rig = Rig::serve(&yaml, Listen::Unix);
    let client = rig.connect().await;
    let mut stream = client.device("console").await.unwrap().console().open();
    stream.send(Bytes::from_static(b"boot")).await.unwrap();
    assert_eq!(hear(&mut stream, 15).await, b"CCPLEX: 0: boot");
    let runs = std::fs::read_to_string(at("runs")).unwrap();
    let pid = runs.split_whitespace().next().unwrap().to_owned();
    let stat = format!("/proc/{pid}/stat");
    assert!(std::path::Path::new(&stat).exists());
    rig.daemon.kill();
    let gone = async {
        // Who adopts it may take a moment to reap it.
        let runs = |stat: String| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
        };
        while std::fs::read_to_string(&stat).is_ok_and(runs) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(SOON, "the end of the demuxer", gone).await;
}

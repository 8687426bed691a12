//! Terminal servers that are not as they should be: `rfc2217://` against a server of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::time::Duration;

use futures::StreamExt;
use rig::{Console, expect, send};
use rigd_driver::{DriverError, Health, contract};
use rigd_drivers_serial::Serial;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};

const IAC: u8 = 255;
const SB: u8 = 250;
const SE: u8 = 240;
/// Agrees to what is asked for, and asks for what it needs.
const AGREES: &[u8] = b"\xff\xfd\x2c\xff\xfd\x00\xff\xfb\x00";

/// What the server says to a request, all of it without frames.
type Answers = fn(&[u8]) -> Vec<Vec<u8>>;

/// As the document says: the same with 100 added to the command.
fn obeys(request: &[u8]) -> Vec<Vec<u8>> {
    vec![[&[request[0] + 100], &request[1..]].concat()]
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![IAC, SB, 44];
    for byte in payload {
        out.push(*byte);
        if *byte == IAC {
            out.push(IAC);
        }
    }
    out.extend([IAC, SE]);
    out
}

/// A server that says `greeting`, answers requests, and sends data back.
struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(greeting: &'static [u8], answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, greeting, answers).await;
            }
        });
        Self { port, task }
    }

    fn url(&self) -> Value {
        json!({"url": format!("rfc2217://127.0.0.1:{}?timeout=0.5", self.port)})
    }
}

/// Requests come whole here: they are small, and sent one at a time.
async fn serve(mut stream: TcpStream, greeting: &[u8], answers: Answers) {
    stream.write_all(greeting).await.ok();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let mut rest = &buffer[..length];
        let mut out = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match (byte, after) {
                (IAC, [SB, 44, ..]) => {
                    let end = after.windows(2).position(|pair| pair == [IAC, SE]).unwrap();
                    // No request of these tests has a byte that is doubled.
                    out.extend(
                        answers(&after[2..end])
                            .iter()
                            .flat_map(|answer| frame(answer)),
                    );
                    rest = &after[end + 2..];
                }
                (IAC, [IAC, ..]) => {
                    out.extend([IAC, IAC]);
                    rest = &after[1..];
                }
                // Agreed already, or refused.
                (IAC, _) => rest = &after[2..],
                _ => out.push(byte),
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

async fn fault(greeting: &'static [u8], answers: Answers) -> String {
    let server = Server::start(greeting, answers).await;
    let console = Console::new(server.url()).await;
    let Health::Faulty(why) = console.instance.health() else {
        panic!("{:?}", console.instance.health());
    };
    let start = format!("rfc2217://127.0.0.1:{} ", server.port);
    let why = why.strip_prefix(&start);
    why.expect("the server is named").to_owned()
}

#[tokio::test]
async fn keeps_the_contract() {
    let server = Server::start(AGREES, obeys).await;
    contract::check::<Serial>(rig::config(server.url())).await;
}

#[tokio::test]
async fn what_is_no_such_server_is_told_with_what_would_be_right() {
    let raw = "a port without RFC 2217 needs socket://HOST:PORT";
    let silent = fault(b"login: ", obeys).await;
    assert_eq!(silent, format!("did not negotiate within 3 s; {raw}"));
    let telnet = fault(b"\xff\xfe\x2c\xff\xfd\x00\xff\xfb\x00", obeys).await;
    assert_eq!(
        telnet,
        format!("refuses the Telnet option COM-PORT-OPTION (44); {raw}")
    );
    let text = fault(b"\xff\xfd\x2c\xff\xfc\x00", obeys).await;
    assert_eq!(
        text,
        format!("refuses the Telnet option TRANSMIT-BINARY (0); {raw}")
    );
}

#[tokio::test]
async fn a_server_that_does_not_negotiate_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = json!({"url": format!("rfc2217://127.0.0.1:{port}")});
    let (_console, ended) = tokio::join!(Console::new(url), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        let reading = stream.read_to_end(&mut said);
        tokio::time::timeout(Duration::from_secs(20), reading).await
    });
    ended.expect("it is closed").unwrap();
}

#[tokio::test]
async fn a_setting_that_the_server_does_not_have_is_told() {
    let slow = fault(AGREES, |request| match request {
        [1, ..] => vec![vec![101, 0, 0, 0x25, 0x80]],
        other => obeys(other),
    });
    assert_eq!(
        slow.await,
        "was asked for 115200 baud and says 9600 instead"
    );
    let mute = fault(AGREES, |request| match request {
        [3, ..] => vec![],
        other => obeys(other),
    });
    assert_eq!(mute.await, "does not answer to parity None");
}

#[tokio::test]
async fn a_refused_speed_leaves_everything_as_it_was() {
    // 230400 baud is too fast for it.
    let server = Server::start(AGREES, |request| match request {
        [1, _, 3, ..] => vec![vec![101, 0, 1, 0xc2, 0]],
        other => obeys(other),
    })
    .await;
    let console = Console::new(server.url()).await;
    let error = console
        .call("set_baudrate", vec![json!(230_400)])
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .ends_with("was asked for 230400 baud and says 115200 instead")
    );
    let settings = console.call("get_settings", vec![]).await.unwrap();
    assert_eq!(settings["baudrate"], 115_200);
    let mut stream = console.connect().await;
    send(&mut stream, "still there").await;
    expect(&mut stream, "still there").await;
    console
        .call("set_baudrate", vec![json!(9600)])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_about_lines_needs_an_option() {
    let answers: Answers = |request| match request {
        [5, ..] => vec![],
        other => obeys(other),
    };
    assert_eq!(
        fault(AGREES, answers).await,
        "does not answer to flow control None"
    );
    let server = Server::start(AGREES, answers).await;
    let url = format!("rfc2217://127.0.0.1:{}?ign_set_control", server.port);
    let console = Console::new(json!({"url": url})).await;
    assert_eq!(console.instance.health(), Health::Ready);
    console.call("set_dtr", vec![json!(false)]).await.unwrap();
    let began = Instant::now();
    console.call("send_break", vec![json!(100)]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn notices_and_other_answers_in_between_change_nothing() {
    // It also offers an echo, asks for a terminal's type, and prints before anything is agreed.
    let greeting =
        b"\xff\xfb\x01\xff\xfd\x18boot\r\0\n\xff\xfd\x2c\xff\xfd\x00\xff\xfb\x00\xff\xf1";
    let server = Server::start(greeting, |request| {
        // A change of the lines, an error, answers to something else, and nonsense.
        let others = [[107, 0x33].as_slice(), &[106, 0x0e], &[105, 18], &[99], &[]];
        let others = others.iter().map(|other| other.to_vec());
        others.chain(obeys(request)).collect()
    })
    .await;
    let mut console = Console::new(server.url()).await;
    assert_eq!(console.instance.health(), Health::Ready);
    console.new_lease().await;
    let mut stream = console.connect().await;
    send(&mut stream, vec![IAC]).await;
    let item = rig::next(&mut stream).await.unwrap().unwrap();
    assert_eq!(item[..], [IAC]);
    console.call("set_rts", vec![json!(false)]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_wants_no_data_is_waited_for() {
    // It says so with the answer to RTS off, and takes it back with that to RTS on.
    let server = Server::start(AGREES, |request| {
        let mut said = obeys(request);
        match request {
            [5, 12] => said.push(vec![108]),
            [5, 11] => said.push(vec![109]),
            _ => {}
        }
        said
    })
    .await;
    let console = Console::new(server.url()).await;
    let mut stream = console.connect().await;
    console.call("set_rts", vec![json!(false)]).await.unwrap();
    // Until it has said so as well, what is sent may still come back.
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(&mut stream, "held").await;
    let early = tokio::time::timeout(Duration::from_millis(300), stream.reader.next()).await;
    assert!(early.is_err(), "{early:?}");
    console.call("set_rts", vec![json!(true)]).await.unwrap();
    expect(&mut stream, "held").await;
}

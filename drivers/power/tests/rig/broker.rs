//! An MQTT broker with a device behind it, which records what it is sent.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::SOON;

/// Topic on which the device says its state.
pub(crate) const STAT: &str = "stat/plug/POWER";

/// Packets, with their head and without their length.
async fn packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let head = stream.read_u8().await.ok()?;
    let length = stream.read_u8().await.ok()?;
    assert!(length < 0x80, "no packet of these tests is longer");
    let mut body = vec![0; length.into()];
    stream.read_exact(&mut body).await.ok()?;
    body.insert(0, head);
    Some(body)
}

/// What the device behind the broker says to a word: the bytes of its payload.
pub(crate) type Device = fn(&[u8]) -> Vec<&'static [u8]>;

/// A device that does as it is told.
pub(crate) fn echo(word: &[u8]) -> Vec<&'static [u8]> {
    vec![if word == b"ON" { b"ON" } else { b"OFF" }]
}

/// A broker with a device behind it; gives every packet that it is sent.
pub(crate) struct Broker {
    pub(crate) port: u16,
    pub(crate) packets: mpsc::UnboundedReceiver<Vec<u8>>,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Broker {
    pub(crate) async fn start(answer: &'static [u8], device: Device) -> Self {
        Self::start_at(0, answer, device).await
    }

    pub(crate) async fn start_at(port: u16, answer: &'static [u8], device: Device) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, packets) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                serve(&mut stream, answer, device, &sender).await;
            }
        });
        Self {
            port,
            packets,
            task,
        }
    }

    pub(crate) async fn next(&mut self) -> Vec<u8> {
        timeout(SOON, self.packets.recv())
            .await
            .expect("a packet")
            .unwrap()
    }
}

async fn serve(
    stream: &mut TcpStream,
    answer: &'static [u8],
    device: Device,
    sender: &mpsc::UnboundedSender<Vec<u8>>,
) {
    while let Some(packet) = packet(stream).await {
        let mut out = Vec::new();
        match packet[0] >> 4 {
            1 => out.extend(answer),
            8 => out.extend([0x90, 3, packet[1], packet[2], 0]),
            3 => {
                let at = 3 + usize::from(packet[2]);
                out.extend([0x40, 2, packet[at], packet[at + 1]]);
                for payload in device(&packet[at + 2..]) {
                    let mut body = vec![0, u8::try_from(STAT.len()).unwrap()];
                    body.extend(STAT.as_bytes());
                    body.extend(payload);
                    out.extend([0x30, u8::try_from(body.len()).unwrap()]);
                    out.extend(body);
                }
            }
            12 => out.extend([0xd0, 0]),
            _ => {}
        }
        sender.send(packet).ok();
        stream.write_all(&out).await.ok();
    }
}

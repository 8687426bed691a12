//! An open driver, and a web server on loopback that records what it is asked.

#![allow(dead_code, reason = "every test binary uses its own part of it")]

pub(crate) mod broker;
pub(crate) mod process;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use rigd_driver::{Blueprint, Driver, DriverError, Instance, KeyKind, KeyOwner, contract};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// Longer than anything on loopback takes, shorter than a person's patience.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A driver in an instance, as a session uses it.
pub(crate) struct Open {
    pub(crate) instance: Arc<Instance>,
    pub(crate) owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Open {
    pub(crate) async fn new<D: Driver>(config: Value) -> Self {
        Self::of(Blueprint::new::<D>(self::config(config))).await
    }

    pub(crate) async fn of(blueprint: Blueprint) -> Self {
        blueprint.check().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        Self {
            instance,
            owner: KeyOwner::issue(KeyKind::Client),
            _dir: dir,
        }
    }

    pub(crate) async fn call(&self, method: &str) -> Result<Value, DriverError> {
        self.call_with(method, vec![]).await
    }

    pub(crate) async fn call_with(
        &self,
        method: &str,
        args: Vec<Value>,
    ) -> Result<Value, DriverError> {
        let key = self.owner.key();
        let call = self.instance.call(&key, None, method, args);
        timeout(SOON, call).await.expect("an answer")
    }

    pub(crate) async fn error(&self, method: &str) -> DriverError {
        self.call(method).await.expect_err("must fail")
    }

    pub(crate) async fn read(&self) -> Result<Value, DriverError> {
        let items = self
            .instance
            .streaming_call(&self.owner.key(), None, "read", vec![]);
        let mut items = Box::pin(items?);
        let first = timeout(SOON, items.next())
            .await
            .expect("an answer")
            .expect("an item");
        if first.is_ok() {
            assert!(items.next().await.is_none(), "one reading and no more");
        }
        first
    }
}

/// A config as it is read from a file.
pub(crate) fn config<C: serde::de::DeserializeOwned>(value: Value) -> C {
    serde_json::from_value(value).unwrap()
}

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status line, extra headers and body.
    Text(u16, &'static str, String),
    /// Bytes as they are, then the end of the connection.
    Raw(&'static [u8]),
    /// 200, after that time.
    Late(Duration),
    /// A body without an end, a byte at a time.
    Drip,
    /// Nothing, until the client leaves.
    Silence,
}

/// 200 with this body.
pub(crate) fn ok(body: &str) -> Reply {
    Reply::Text(200, "", body.into())
}

/// A web server that answers by the plan, and by its last item for ever.
pub(crate) struct Web {
    pub(crate) port: u16,
    asked: watch::Sender<Vec<String>>,
    /// Most connections that were open at once.
    pub(crate) most: Arc<Mutex<(usize, usize)>>,
    task: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    pub(crate) async fn start(plan: Vec<Reply>) -> Self {
        Self::start_at(0, plan).await
    }

    pub(crate) async fn start_at(port: u16, plan: Vec<Reply>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Mutex::new(VecDeque::from(plan)));
        let asked = watch::Sender::new(Vec::new());
        let most = Arc::new(Mutex::new((0, 0)));
        let (told, open) = (asked.clone(), most.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (plan, told, open) = (plan.clone(), told.clone(), open.clone());
                connections.spawn(async move {
                    {
                        let mut open = open.lock().unwrap();
                        open.0 += 1;
                        open.1 = open.1.max(open.0);
                    }
                    serve(stream, &plan, &told).await;
                    open.lock().unwrap().0 -= 1;
                });
            }
        });
        Self {
            port,
            asked,
            most,
            task,
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All requests, without headers: `GET /x body`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.whole().iter().map(|request| short(request)).collect()
    }

    /// All requests as they came.
    pub(crate) fn whole(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Until that many requests have come.
    pub(crate) async fn until(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let come = asked.wait_for(|asked| asked.len() >= count);
        timeout(SOON, come).await.expect("requests").unwrap();
    }
}

fn short(request: &str) -> String {
    let line = request.lines().next().unwrap_or_default();
    let line = line.trim_end_matches(" HTTP/1.1");
    let body = request.split_once("\r\n\r\n").map_or("", |parts| parts.1);
    format!("{line} {body}").trim_end().to_owned()
}

async fn serve(
    mut stream: TcpStream,
    plan: &Mutex<VecDeque<Reply>>,
    told: &watch::Sender<Vec<String>>,
) {
    let Some(request) = request(&mut stream).await else {
        return;
    };
    let reply = {
        let mut plan = plan.lock().unwrap();
        match plan.len() {
            0 => Reply::Silence,
            1 => plan[0].clone(),
            _ => plan.pop_front().unwrap(),
        }
    };
    told.send_modify(|asked| asked.push(request));
    match reply {
        Reply::Text(status, headers, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await.ok();
        }
        Reply::Raw(bytes) => drop(stream.write_all(bytes).await),
        Reply::Late(time) => {
            tokio::time::sleep(time).await;
            let text = b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(text).await.ok();
        }
        Reply::Drip => {
            let mut next: &[u8] = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n";
            while stream.write_all(next).await.is_ok() {
                next = b"x";
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Reply::Silence => drop(stream.read(&mut [0]).await),
    }
}

/// A request with its body.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

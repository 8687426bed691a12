//! A small exporter that is as lazy as the protocol allows: response headers only with the first
//! message, one frame a message, no end of its own after both directions are closed.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream};
use http_body_util::BodyExt;
use rigd_proto::{
    v1::{
        exporter_service_server::{ExporterService, ExporterServiceServer},
        router_service_server::{RouterService, RouterServiceServer},
        *,
    },
    value,
};
use serde_json::{Value, json};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming, body::Body, codegen::http, transport::Server};
use tower::util::MapRequestLayer;

pub(crate) const PASSPHRASE: &str = "open sesame";

/// What the exporter saw of an upload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Frame(Bytes),
    /// GOAWAY.
    Finished,
    /// An end without GOAWAY: what a broken upload must never be.
    BareEnd,
    /// Cancelled by the client.
    Cancelled,
}

/// Uploads that wait for their call.
type Uploads = Arc<Mutex<BTreeMap<String, Transfer>>>;

struct Transfer {
    frames: Streaming<StreamRequest>,
    reply: mpsc::Sender<Result<StreamResponse, Status>>,
}

struct Fake {
    uploads: Uploads,
    seen: mpsc::UnboundedSender<Seen>,
    passphrase: Option<&'static str>,
}

/// A running exporter on a socket of its own.
pub(crate) struct Running {
    pub(crate) socket: std::path::PathBuf,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    server: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn start(passphrase: Option<&'static str>) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("fake%2f.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (tx, seen) = mpsc::unbounded_channel();
    let uploads = Uploads::default();
    let fake = || Fake {
        uploads: uploads.clone(),
        seen: tx.clone(),
        passphrase,
    };
    let router = Server::builder()
        .layer(MapRequestLayer::new(tell_cancellation))
        .add_service(ExporterServiceServer::new(fake()))
        .add_service(RouterServiceServer::new(fake()));
    let server = tokio::spawn(async move {
        let incoming = UnixListenerStream::new(listener);
        router.serve_with_incoming(incoming).await.unwrap();
    });
    Running {
        socket,
        seen,
        server,
        _dir: dir,
    }
}

/// tonic hides a client's cancellation from handlers: it looks like a clean end unless its code is
/// another one.
fn tell_cancellation(request: http::Request<Body>) -> http::Request<Body> {
    request.map(|body| Body::new(body.map_err(|status| Status::aborted(status.message()))))
}

fn node(uuid: &str, parent: Option<&str>, name: &str) -> DriverInstanceReport {
    DriverInstanceReport {
        uuid: uuid.to_owned(),
        parent_uuid: parent.map(str::to_owned),
        labels: [("jumpstarter.dev/name".to_owned(), name.to_owned())].into(),
        ..DriverInstanceReport::default()
    }
}

impl Fake {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let sent = request.metadata().get("x-jumpstarter-passphrase");
        if sent.map(|it| it.as_bytes()) == self.passphrase.map(str::as_bytes) {
            Ok(())
        } else {
            Err(Status::unauthenticated("invalid or missing passphrase"))
        }
    }

    /// Reads on when the call is cancelled, so that the end of the stream is always seen.
    async fn write(&self, handle: &Value) -> Result<Value, Status> {
        let transfer = self.take(handle)?;
        tokio::spawn(receive(transfer, self.seen.clone()))
            .await
            .unwrap()
    }

    async fn read(&self, handle: &Value) -> Result<Value, Status> {
        let transfer = self.take(handle)?;
        // The call is over before its last bytes are sent.
        tokio::spawn(async move {
            for payload in [Bytes::from_static(b"one"), Bytes::new(), "two".into()] {
                transfer.reply.send(Ok(data(payload))).await.ok();
            }
            transfer.reply.send(Ok(goaway())).await.ok();
            transfer.reply.closed().await;
        });
        Ok(Value::Null)
    }

    fn take(&self, handle: &Value) -> Result<Transfer, Status> {
        let uuid = handle["uuid"].as_str().unwrap_or_default();
        let transfer = self.uploads.lock().unwrap().remove(uuid);
        transfer.ok_or_else(|| Status::unknown("no such resource"))
    }
}

async fn receive(
    mut transfer: Transfer,
    seen: mpsc::UnboundedSender<Seen>,
) -> Result<Value, Status> {
    let mut length = 0;
    loop {
        let event = match transfer.frames.message().await {
            Ok(Some(frame)) if frame.frame_type() == FrameType::Goaway => Seen::Finished,
            Ok(Some(frame)) => {
                length += frame.payload.len();
                Seen::Frame(frame.payload)
            }
            Ok(None) => Seen::BareEnd,
            Err(_) => Seen::Cancelled,
        };
        let result = match &event {
            Seen::Frame(_) => None,
            Seen::Finished => Some(Ok(json!(length))),
            Seen::BareEnd | Seen::Cancelled => Some(Err(Status::internal("broken off"))),
        };
        seen.send(event).ok();
        if let Some(result) = result {
            return result;
        }
    }
}

fn data(payload: Bytes) -> StreamResponse {
    StreamResponse {
        payload,
        frame_type: FrameType::Data.into(),
    }
}

fn goaway() -> StreamResponse {
    StreamResponse {
        payload: Bytes::new(),
        frame_type: FrameType::Goaway.into(),
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExporterService for Fake {
    async fn get_report(
        &self,
        request: Request<()>,
    ) -> Result<Response<GetReportResponse>, Status> {
        self.check(&request)?;
        Ok(Response::new(GetReportResponse {
            uuid: "exporter".to_owned(),
            reports: vec![
                node("root", None, ""),
                node("dutlink", Some("root"), "dutlink"),
                node("power", Some("dutlink"), "power"),
                node("storage", Some("dutlink"), "storage"),
                node("console", Some("dutlink"), "console"),
            ],
            ..GetReportResponse::default()
        }))
    }

    async fn driver_call(
        &self,
        request: Request<DriverCallRequest>,
    ) -> Result<Response<DriverCallResponse>, Status> {
        self.check(&request)?;
        let call = request.into_inner();
        let mut args = call.args.into_iter().map(|it| value::to_json(it).unwrap());
        let result = match call.method.as_str() {
            "on" | "host" | "dut" => Value::Null,
            "echo" => args.collect(),
            "off" => return Err(Status::unavailable("relay unplugged")),
            "write" => self.write(&args.next().unwrap()).await?,
            "read" => self.read(&args.next().unwrap()).await?,
            "refuse" => return Err(Status::failed_precondition("card is in use")),
            "content" => {
                self.take(&args.next().unwrap())?;
                json!("enough")
            }
            other => {
                let text = format!("method {other} not found on driver");
                return Err(Status::not_found(text));
            }
        };
        Ok(Response::new(DriverCallResponse {
            uuid: "answer".to_owned(),
            result: Some(value::from_json(result)),
        }))
    }

    type StreamingDriverCallStream = Responses<StreamingDriverCallResponse>;

    async fn streaming_driver_call(
        &self,
        request: Request<StreamingDriverCallRequest>,
    ) -> Result<Response<Self::StreamingDriverCallStream>, Status> {
        self.check(&request)?;
        let items = [
            json!({"voltage": 5, "current": 0.5}),
            json!({"voltage": "?"}),
        ];
        let items = items.map(|it| {
            Ok(StreamingDriverCallResponse {
                uuid: String::new(),
                result: Some(value::from_json(it)),
            })
        });
        Ok(Response::new(stream::iter(items).boxed()))
    }

    type LogStreamStream = Responses<LogStreamResponse>;

    async fn log_stream(
        &self,
        request: Request<()>,
    ) -> Result<Response<Self::LogStreamStream>, Status> {
        self.check(&request)?;
        let line = LogStreamResponse {
            severity: "INFO".to_owned(),
            message: "power on".to_owned(),
            source: Some(LogSource::Driver.into()),
            ..LogStreamResponse::default()
        };
        let lines = stream::once(future::ready(Ok(line)));
        Ok(Response::new(lines.chain(stream::pending()).boxed()))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.check(&request)?;
        Ok(Response::new(GetStatusResponse {
            status: ExporterStatus::LeaseReady.into(),
            message: Some("ready".to_owned()),
            status_version: 2,
            previous_status: Some(ExporterStatus::Available.into()),
        }))
    }

    async fn end_session(
        &self,
        request: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        self.check(&request)?;
        Ok(Response::new(EndSessionResponse {
            success: false,
            message: Some("No active lease context".to_owned()),
        }))
    }
}

#[tonic::async_trait]
impl RouterService for Fake {
    type StreamStream = Responses<StreamResponse>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        self.check(&request)?;
        let wanted = request.metadata().get("request");
        let wanted: Value = serde_json::from_slice(wanted.unwrap().as_bytes()).unwrap();
        let mut frames = request.into_inner();
        let (reply, replies) = mpsc::channel(1);
        let replies = tokio_stream::wrappers::ReceiverStream::new(replies).boxed();
        if wanted["kind"] == "resource" {
            let uuid = "resource-1";
            let handle = json!({
                "kind": "client_stream",
                "uuid": uuid,
                "x_jmp_content_encoding": wanted["x_jmp_content_encoding"],
            });
            let transfer = Transfer { frames, reply };
            self.uploads
                .lock()
                .unwrap()
                .insert(uuid.to_owned(), transfer);
            let mut response = Response::new(replies);
            let text = handle.to_string().parse().unwrap();
            response.metadata_mut().insert("resource", text);
            return Ok(response);
        }
        if wanted["method"] != "connect" {
            return Err(Status::not_found("method ? not found on driver"));
        }
        // Headers go out with the first message: return only once there is one.
        let (first, began) = oneshot::channel();
        tokio::spawn(async move {
            let mut first = Some(first);
            while let Ok(Some(frame)) = frames.message().await {
                first.take().map(|first| first.send(()));
                let answer = match frame.frame_type() {
                    FrameType::Goaway => goaway(),
                    _ => data(frame.payload),
                };
                reply.send(Ok(answer)).await.ok();
            }
            // No end of its own.
            reply.closed().await;
        });
        began.await.map_err(|_| Status::cancelled("nothing came"))?;
        Ok(Response::new(replies))
    }
}

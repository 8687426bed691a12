//! A connection to an exporter: its report, and calls by uuid.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use futures::stream;
use rigd_proto::{
    v1::{
        DriverCallRequest, DriverCallResponse, StreamingDriverCallRequest,
        exporter_service_client::ExporterServiceClient, router_service_client::RouterServiceClient,
    },
    value,
};
use serde_json::Value;
use tokio::sync::{OnceCell, oneshot};
use tonic::{
    Request, Response, Status, codegen::http::uri::PathAndQuery, metadata::AsciiMetadataValue,
    transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::{
    ByteChannel, ConnectOptions, Device, Error, Items, Report, connect, connect::Target,
    error::Place,
};

/// Exporters answer these questions from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const PASSPHRASE_KEY: &str = "x-jumpstarter-passphrase";

const DRIVER_CALL: &str = "/jumpstarter.v1.ExporterService/DriverCall";

/// Metadata key that says what a stream is for.
const STREAM_REQUEST_KEY: &str = "request";

/// A connected exporter. Clones share the connection, which is made anew when it breaks.
///
/// ```no_run
/// # async fn run() -> Result<(), rigd_client::Error> {
/// let exporter = rigd_client::Exporter::connect_unix("/run/rigd/rpi4.sock").await?;
/// for (path, device) in &exporter.report().await?.devices {
///     println!("{path}: {}", device.client());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Exporter {
    channel: Channel,
    passphrase: Option<AsciiMetadataValue>,
    /// The first report, for finding devices. Uuids last as long as the lease, and a connection
    /// never lives longer.
    known: Arc<OnceCell<Report>>,
}

impl Exporter {
    /// Connects to a unix socket.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when nobody listens there.
    pub async fn connect_unix(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::connect_unix_with(path, &ConnectOptions::default()).await
    }

    /// Connects to a unix socket; of the options only the passphrase counts.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when nobody listens there, [`Error::BadOption`].
    pub async fn connect_unix_with(
        path: impl AsRef<Path>,
        options: &ConnectOptions,
    ) -> Result<Self, Error> {
        let passphrase = options.passphrase()?;
        Ok(Self::new(connect::unix(path.as_ref()).await?, passphrase))
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when nobody listens there within 10 s or the server is not to be
    /// trusted, [`Error::BadOption`].
    pub async fn connect_tcp(address: &str, options: &ConnectOptions) -> Result<Self, Error> {
        let passphrase = options.passphrase()?;
        Ok(Self::new(connect::tcp(address, options).await?, passphrase))
    }

    /// Connects to where `JUMPSTARTER_HOST` says, as Jumpstarter's Python client does: a socket
    /// path or `host:port`, with TLS and the system's roots unless `JMP_GRPC_INSECURE` or
    /// `JUMPSTARTER_GRPC_INSECURE` is `1`, and with the passphrase of `JMP_GRPC_PASSPHRASE`.
    /// `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names other roots.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] when the variable is missing, else as for the other two.
    pub async fn from_env() -> Result<Self, Error> {
        match connect::from_vars(|name| std::env::var(name).ok())? {
            Target::Unix(path, options) => Self::connect_unix_with(path, &options).await,
            Target::Tcp(address, options) => Self::connect_tcp(&address, &options).await,
        }
    }

    fn new(channel: Channel, passphrase: Option<AsciiMetadataValue>) -> Self {
        Self {
            channel,
            passphrase,
            known: Arc::default(),
        }
    }

    /// Asks for the tree of devices.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], [`Error::Timeout`] after 10 s, [`Error::Protocol`] when the devices
    /// make no tree.
    pub async fn report(&self) -> Result<Report, Error> {
        let place = Place::exporter("GetReport");
        let mut service = self.service();
        let response = self
            .answer(&place, service.get_report(self.request(())))
            .await?;
        Report::from_wire(response).map_err(|orphan| {
            place.protocol(format!("device {} comes before its parent", orphan.uuid))
        })
    }

    /// Finds a device by its path, e.g. `dutlink.power`. Asks for the report on the first use.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownDevice`], and those of [`report`](Self::report).
    pub async fn device(&self, path: &str) -> Result<Device, Error> {
        let report = self.known.get_or_try_init(|| self.report()).await?;
        match report.devices.get(path) {
            Some(info) => Ok(Device::new(self.clone(), info.clone())),
            None => Err(Error::UnknownDevice {
                path: path.to_owned(),
                known: (report.devices.keys())
                    .filter(|known| !known.is_empty())
                    .cloned()
                    .collect(),
            }),
        }
    }

    /// Calls a method and waits for its result. Dropping the future cancels the call.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the exporter's code and text.
    pub async fn call(&self, uuid: &str, method: &str, args: Vec<Value>) -> Result<Value, Error> {
        let message = call_request(uuid, method, args);
        let response = self.service().driver_call(self.request(message)).await;
        result(response, || self.place(uuid, method))
    }

    /// Like [`call`](Self::call), and fires `sent` once the request has gone to the connection.
    pub(crate) async fn call_telling(
        &self,
        uuid: &str,
        method: &str,
        args: Vec<Value>,
        sent: oneshot::Sender<()>,
    ) -> Result<Value, Error> {
        let message = call_request(uuid, method, args);
        // The connection polls the message when it opens the stream of the call.
        let messages = stream::once(async move {
            sent.send(()).ok();
            message
        });
        let place = self.place(uuid, method);
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| place.refused(Status::unavailable(error.to_string())))?;
        let codec = ProstCodec::<DriverCallRequest, DriverCallResponse>::default();
        let path = PathAndQuery::from_static(DRIVER_CALL);
        let response = grpc
            .client_streaming(self.request(messages), path, codec)
            .await;
        result(response, || place)
    }

    /// Calls a method that gives its results one by one.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the exporter's code and text.
    pub async fn streaming_call(
        &self,
        uuid: &str,
        method: &str,
        args: Vec<Value>,
    ) -> Result<Items, Error> {
        let message = StreamingDriverCallRequest {
            uuid: uuid.to_owned(),
            method: method.to_owned(),
            args: args.into_iter().map(value::from_json).collect(),
        };
        let place = self.place(uuid, method);
        let mut service = self.service();
        match service.streaming_driver_call(self.request(message)).await {
            Ok(response) => Ok(Items::new(response.into_inner(), place)),
            Err(status) => Err(place.refused(status)),
        }
    }

    /// Opens a byte stream of a device, without waiting for the exporter: a refusal comes from
    /// the first [`ByteChannel::recv`] or [`ByteChannel::opened`]. Must be called within a tokio
    /// runtime.
    pub fn stream(&self, uuid: &str, method: &str) -> ByteChannel {
        let request = serde_json::json!({"kind": "driver", "uuid": uuid, "method": method});
        self.open_channel(&request, self.place(uuid, method))
    }

    /// Opens a router stream for the purpose that `request` names.
    pub(crate) fn open_channel(&self, request: &Value, place: Place) -> ByteChannel {
        let mut metadata = self.request(()).metadata().clone();
        // serde_json leaves text as it is, but metadata must be ASCII.
        if let Ok(json) = AsciiMetadataValue::try_from(ascii_json(request)) {
            metadata.insert(STREAM_REQUEST_KEY, json);
        }
        ByteChannel::open(
            RouterServiceClient::new(self.channel.clone()),
            metadata,
            place,
        )
    }

    pub(crate) fn service(&self) -> ExporterServiceClient<Channel> {
        ExporterServiceClient::new(self.channel.clone())
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(passphrase) = &self.passphrase {
            request
                .metadata_mut()
                .insert(PASSPHRASE_KEY, passphrase.clone());
        }
        request
    }

    /// Waits for something that an exporter answers from memory.
    pub(crate) async fn answer<T>(
        &self,
        place: &Place,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
            Ok(answer) => answer
                .map(Response::into_inner)
                .map_err(|status| place.refused(status)),
            Err(_) => Err(Error::Timeout {
                action: place.action.clone(),
                after: ANSWER_TIMEOUT,
            }),
        }
    }

    pub(crate) fn place(&self, uuid: &str, action: &str) -> Place {
        let path = self.known.get().and_then(|report| report.path_of(uuid));
        Place {
            action: action.to_owned(),
            device: path.unwrap_or(uuid).to_owned(),
        }
    }
}

fn call_request(uuid: &str, method: &str, args: Vec<Value>) -> DriverCallRequest {
    DriverCallRequest {
        uuid: uuid.to_owned(),
        method: method.to_owned(),
        args: args.into_iter().map(value::from_json).collect(),
    }
}

fn result(
    response: Result<Response<DriverCallResponse>, Status>,
    place: impl FnOnce() -> Place,
) -> Result<Value, Error> {
    match response {
        Ok(response) => value::to_json(response.into_inner().result.unwrap_or_default())
            .map_err(|error| place().protocol(error.to_string())),
        Err(status) => Err(place().refused(status)),
    }
}

/// JSON with every character beyond ASCII escaped.
fn ascii_json(value: &Value) -> String {
    let mut escaped = String::new();
    for unit in value.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\u{unit:04x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_requests_are_ascii_and_stay_the_same_json() {
        let request = serde_json::json!({"method": "grüße 🦀\u{7f}"});
        let text = ascii_json(&request);
        assert!(text.is_ascii());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), request);
    }
}

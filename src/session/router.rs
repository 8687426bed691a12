//! `RouterService` as an exporter serves it: driver byte streams and resource streams.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use rigd_driver::ByteStream;
use rigd_proto::v1::{StreamRequest, StreamResponse, router_service_server::RouterService};
use serde::Deserialize;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{MetadataKey, MetadataMap},
};

use super::{Session, SmallFrames, errors, frames::Frames, resource::Encoding, stream};
use crate::transport::Connection;

/// The service over a session.
pub(super) struct Router(pub(super) Session);

/// The metadata key `request`: what the client wants.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Target {
    Driver {
        uuid: String,
        method: String,
    },
    Resource {
        uuid: String,
        #[serde(default)]
        x_jmp_content_encoding: Option<String>,
    },
}

fn target(metadata: &MetadataMap) -> Result<Target, Status> {
    let text = metadata.get("request").ok_or_else(|| {
        Status::unknown("metadata key 'request' is missing: it says which stream to open")
    })?;
    serde_json::from_slice(text.as_bytes())
        .map_err(|error| Status::unknown(format!("metadata key 'request' is not valid: {error}")))
}

type Frame = Result<StreamResponse, Status>;

#[tonic::async_trait]
impl RouterService for Router {
    type StreamStream = BoxStream<'static, Frame>;

    /// The response headers go out as soon as the device is open, before any frame: clients wait
    /// for them before they send.
    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let target = target(request.metadata())?;
        let connection = request.extensions().get::<Connection>();
        let small = connection
            .map(|c| c.small_frames.clone())
            .unwrap_or_default();
        let frames = Frames(request.into_inner());
        match target {
            Target::Driver { uuid, method } => self.driver(&uuid, &method, frames, small).await,
            Target::Resource {
                uuid,
                x_jmp_content_encoding,
            } => self.resource(&uuid, x_jmp_content_encoding, frames, small),
        }
    }
}

impl Router {
    async fn driver(
        &self,
        uuid: &str,
        method: &str,
        frames: Frames,
        small: Arc<SmallFrames>,
    ) -> Result<Response<BoxStream<'static, Frame>>, Status> {
        let instance = self.0.instance(uuid)?;
        let session = &self.0.0;
        self.0.ready().await?;
        let key = self.0.key();
        let stream = instance
            .stream(&key, method)
            .await
            .map_err(|e| errors::status(&e))?;
        let headers = headers(&stream);
        let frames = stream::serve(stream, frames, key, small, &session.tasks);
        let mut response = Response::new(frames.boxed());
        *response.metadata_mut() = headers;
        Ok(response)
    }

    fn resource(
        &self,
        uuid: &str,
        encoding: Option<String>,
        frames: Frames,
        small: Arc<SmallFrames>,
    ) -> Result<Response<BoxStream<'static, Frame>>, Status> {
        let instance = self.0.instance(uuid)?;
        let encoding = encoding.filter(|name| !name.is_empty());
        let known = Encoding::parse(encoding.as_deref()).is_ok();
        let table = &self.0.0.resources;
        let (id, frames) = table
            .register(instance.uuid(), frames, small)
            .map_err(|e| errors::status(&e))?;
        let handle = serde_json::json!({
            "kind": "client_stream",
            "uuid": id,
            "x_jmp_content_encoding": encoding,
        });
        let mut response = Response::new(frames.boxed());
        let metadata = response.metadata_mut();
        let ascii = |text: String| {
            text.parse()
                .map_err(|_| Status::unknown("the content encoding is not ASCII"))
        };
        metadata.insert("resource", ascii(handle.to_string())?);
        // Clients take an empty value as "send as it is", and an unknown name as accepted too; the
        // call that uses the resource then says what is wrong with it.
        let accepted = encoding.filter(|_| known).unwrap_or_default();
        metadata.insert("x_jmp_accept_encoding", ascii(accepted)?);
        Ok(response)
    }
}

fn headers(stream: &ByteStream) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (key, value) in &stream.headers {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            metadata.insert(key, value);
        }
    }
    metadata
}

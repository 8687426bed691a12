//! `grpc.reflection`, v1 and v1alpha: which services there are, for people with tools such as grpcurl.
//!
//! It describes the protocol, which is public, and nothing of the lab.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use rigd_proto::FILE_DESCRIPTOR_SET;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic_health::pb::health_server;
use tonic_reflection::server::{Builder, Error};

use super::{
    health::SERVICES,
    open::{MAX_MESSAGE, Open},
};

/// Streams of both versions at once: people use them by hand.
pub(super) const MAX_STREAMS: usize = 64;
/// How long one may ask: tools ask all at once, and end the stream.
const LIMIT: Duration = Duration::from_secs(30);

/// The daemon's own control protocol is served on a socket of its own.
const NOT_SERVED: &str = "rigd.";

/// A `FileDescriptorSet` whose files stay as they are: decoded ones lose their extensions.
#[derive(prost::Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// Adds both versions, whose streams share `places`, [`MAX_STREAMS`].
///
/// # Errors
/// The descriptors of this build are damaged.
pub(super) fn add_to(routes: Routes, places: &Arc<Semaphore>) -> Result<Routes, Error> {
    let files = served()?;
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(&files)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(health_server::SERVICE_NAME);
        SERVICES
            .iter()
            .fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(MAX_MESSAGE);
    let v1alpha = builder().build_v1alpha()?;
    let v1alpha = v1alpha.max_decoding_message_size(MAX_MESSAGE);
    Ok(routes
        .add_service(Open::new(v1, Arc::clone(places), LIMIT))
        .add_service(Open::new(v1alpha, Arc::clone(places), LIMIT)))
}

fn served() -> Result<Vec<u8>, Error> {
    let mut files = Files::decode(FILE_DESCRIPTOR_SET)?;
    let mut served = Vec::with_capacity(files.file.len());
    for file in files.file {
        let described = prost_types::FileDescriptorProto::decode(file.clone())?;
        if !described.package().starts_with(NOT_SERVED) {
            served.push(file);
        }
    }
    files.file = served;
    Ok(files.encode_to_vec())
}

//! `grpc.reflection`, v1 and v1alpha: which services there are, for people with tools such as grpcurl.
//!
//! It describes the protocol, which is public, and nothing of the lab.

use bytes::Bytes;
use prost::Message as _;
use rigd_proto::FILE_DESCRIPTOR_SET;
use tonic::service::Routes;
use tonic_health::pb::health_server;
use tonic_reflection::server::{Builder, Error};

use super::health::SERVICES;

/// The daemon's own control protocol is served on a socket of its own.
const NOT_SERVED: &str = "rigd.";

/// A `FileDescriptorSet` whose files stay as they are: decoded ones lose their extensions.
#[derive(prost::Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// Adds both versions.
///
/// # Errors
/// The descriptors of this build are damaged.
pub(super) fn add_to(routes: Routes) -> Result<Routes, Error> {
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
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
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

//! The Jumpstarter protocol and rigd's own control protocol.
//!
//! Names are those of the .proto files; the daemon translates them where it uses this crate.
//! `google.protobuf.Empty` is `()`, the other well-known types are those of [`prost_types`].

pub mod value;

/// `jumpstarter.v1`: controller, exporter, router and telemetry services.
pub mod v1 {
    #![allow(missing_docs, reason = "generated from .proto files")]
    tonic::include_proto!("jumpstarter.v1");
}

/// Protocol between a client and the controller.
pub mod client {
    /// `jumpstarter.client.v1`: the controller's resource interface.
    pub mod v1 {
        #![allow(missing_docs, reason = "generated from .proto files")]
        tonic::include_proto!("jumpstarter.client.v1");
    }
}

/// Protocol of the daemon's control socket.
pub mod control {
    mod secret;

    /// `rigd.control.v1`.
    pub mod v1 {
        #![allow(missing_docs, reason = "generated from .proto files")]
        tonic::include_proto!("rigd.control.v1");
    }
}

/// All files of the crate and their imports as an encoded `google.protobuf.FileDescriptorSet`,
/// without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

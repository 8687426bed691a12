//! All calls of the lab's services, by callers whom it does not know.

use bytes::{Buf, BufMut};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorSet, MethodDescriptorProto, field_descriptor_proto::Type,
};
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::MetadataValue,
};

use super::{super::health::SERVICES, *};

/// Messages as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// One call: its path, and its request about an object of this name.
pub(super) struct Call {
    pub(super) path: String,
    request: Vec<u8>,
}

/// Those of all services of the lab.
pub(super) fn calls(object: &str) -> Vec<Call> {
    let set = FileDescriptorSet::decode(rigd_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut calls = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if !SERVICES.contains(&name.as_str()) {
                continue;
            }
            calls.extend(service.method.iter().map(|method| Call {
                path: format!("/{name}/{}", method.name()),
                request: request(&set, method, object),
            }));
        }
    }
    calls
}

fn request(set: &FileDescriptorSet, method: &MethodDescriptorProto, object: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(set, method.input_type(), object, &mut bytes);
    bytes
}

/// Names the object wherever a message names one.
fn fill(set: &FileDescriptorSet, kind: &str, object: &str, into: &mut Vec<u8>) {
    let Some((package, message)) = find(set, kind) else {
        return;
    };
    let resource = package == "jumpstarter.client.v1";
    for field in &message.field {
        let mut value = Vec::new();
        match (field.r#type(), field.name()) {
            (Type::String, "name" | "lease_name") if resource => {
                value.extend(format!("namespaces/lab/leases/{object}").bytes());
            }
            (Type::String, "name" | "lease_name") => value.extend(object.bytes()),
            (Type::String, "parent") => value.extend(b"namespaces/lab"),
            (Type::Message, "lease") => fill(set, field.type_name(), object, &mut value),
            _ => continue,
        }
        prost::encoding::bytes::encode(field.number().cast_unsigned(), &value, into);
    }
}

fn find<'a>(set: &'a FileDescriptorSet, kind: &str) -> Option<(&'a str, &'a DescriptorProto)> {
    set.file.iter().find_map(|file| {
        let name = kind.strip_prefix('.')?.strip_prefix(file.package())?;
        let name = name.strip_prefix('.')?;
        let message = file.message_type.iter().find(|one| one.name() == name)?;
        Some((file.package(), message))
    })
}

/// Code and text. Whether a call streams is the same on the wire.
async fn told(channel: &Channel, call: &Call, who: Option<&Who>) -> (Code, String) {
    let mut request = Request::new(call.request.clone());
    if let Some(who) = who {
        let pairs = [
            ("authorization", &*who.bearer),
            ("jumpstarter-kind", who.kind.object()),
            ("jumpstarter-namespace", "lab"),
            ("jumpstarter-name", who.name),
        ];
        for (key, value) in pairs {
            let value = MetadataValue::try_from(value).unwrap();
            request.metadata_mut().insert(key, value);
        }
    }
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = call.path.parse().unwrap();
    let answer = grpc.server_streaming(request, path, Bytes).await;
    let answer = match answer {
        Ok(answer) => answer.into_inner().message().await,
        Err(status) => Err(status),
    };
    let status = answer.expect_err(&call.path);
    (status.code(), status.message().to_owned())
}

/// Who a caller says it is.
struct Who {
    bearer: String,
    kind: Kind,
    name: &'static str,
}

/// A lab with a lease of `alice`, `one`, of `rig`.
async fn lab() -> Site {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    dial(&site).await;
    site
}

#[tokio::test]
async fn all_calls_tell_them_the_same_whatever_there_is() {
    let (site, other) = (lab().await, lab().await);
    let before = site.engine.read(Clone::clone);
    let there = calls("one");
    let not_there = calls("nix");
    assert!(there.len() > 15, "{}", there.len());
    let token = |kind, name| format!("Bearer {}", other.credentials(kind, name).token);
    let good = "failed to authenticate token";
    let callers = [
        (None, "missing authorization header"),
        (
            Some("nonsense".to_owned()),
            "malformed authorization header",
        ),
        (Some("Bearer nonsense".to_owned()), good),
        (
            Some(token(Kind::Client, "alice")),
            "oidc: verify token: failed to verify signature",
        ),
        (
            Some(token(Kind::Exporter, "rig")),
            "oidc: verify token: failed to verify signature",
        ),
    ];
    // Whoever is known is told of the very objects.
    let alice = Who {
        bearer: format!("Bearer {}", site.credentials(Kind::Client, "alice").token),
        kind: Kind::Client,
        name: "alice",
    };
    let asks = |call: &&Call| call.path.ends_with("ClientService/GetLease");
    let missing = not_there.iter().find(asks).unwrap();
    let (_, text) = told(&site.channel().await, missing, Some(&alice)).await;
    assert_eq!(text, "Lease.jumpstarter.dev \"nix\" not found");

    let mut from = 1;
    for (bearer, expected) in callers {
        for (call, same) in there.iter().zip(&not_there) {
            let mut answers = Vec::new();
            for (call, kind, name) in [
                (call, Kind::Client, "alice"),
                (same, Kind::Client, "nobody"),
                (call, Kind::Exporter, "rig"),
                (same, Kind::Exporter, "nothing"),
            ] {
                let who = bearer.clone();
                let who = who.map(|bearer| Who { bearer, kind, name });
                // Failures are counted for each address.
                from += 1;
                let [high, low] = u16::to_be_bytes(from);
                let channel = site.channel_from([127, 0, high, low].into()).await;
                answers.push(told(&channel, call, who.as_ref()).await);
            }
            let (code, text) = &answers[0];
            let path = &call.path;
            assert!(
                answers.iter().all(|one| *one == answers[0]),
                "{path}: {answers:?}"
            );
            assert_ne!(*code, Code::Ok, "{path}");
            match path.contains("RouterService") {
                true => assert_eq!(*code, Code::Unauthenticated, "{path}: {text}"),
                false => assert_eq!(text, expected, "{path}"),
            }
        }
    }
    assert_eq!(site.engine.read(Clone::clone), before);
}

//! The configuration of an exporter: from the text of `exporter.yaml` to checked values, each with its place.
//!
//! ```text
//! text -> yaml (spanned tree) -> load (sections, export tree, references) -> ExporterConfig
//!                                  |                                           |
//!                               Problem ... -> Diagnostics (rendered)       node: a driver's own `config:`
//! ```
//!
//! Nothing here opens hardware, knows drivers, or reads the process environment: the lookup is handed in.

mod attempt;
mod ca;
mod de;
mod diagnostic;
mod endpoint;
mod export;
mod fault;
mod key;
mod lax;
mod listen;
mod load;
mod merge;
mod model;
mod node;
mod read;
mod refs;
mod safety;
mod scalar;
mod schema;
mod secret;
mod section;
mod settings;
mod span;
mod suggest;
mod tag;
mod variant;
mod yaml;

pub use ca::{CaError, certificates, pem_certificates};
pub use de::NodeDeserializer;
pub use diagnostic::{Diagnostics, Problem, Source};
pub(crate) use endpoint::origin;
pub use endpoint::{Endpoint, EndpointError};
pub use export::{DriverEntry, EntryKind, ExportEntry, GenericConfig, LogLevel, MAX_EXPORT_DEPTH};
pub use fault::Error;
pub use listen::{Listen, ListenTls, TcpAddress};
pub use load::{MAX_FILE_BYTES, Review, load, load_with, parse};
pub(crate) use model::token_mistake;
pub use model::{
    ExporterConfig, FailureDetection, GrpcOption, Hook, Hooks, Metadata, MissingDrivers, OnFailure,
    Secret, Tls,
};
pub use node::{Kind, Node, Style};
pub use read::{from_node, read_all};
pub use refs::check_refs;
pub use safety::{Interlock, SafeCall, SafeStep};
pub use schema::exporter_schema;
pub use secret::is_secret_key;
pub use settings::{ControllerSettings, Settings};
pub use span::{Span, Spanned};
pub use suggest::{did_you_mean, nearest};
pub use yaml::parse_tree;

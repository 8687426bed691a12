//! Who calls: the metadata of a request, checked as a controller does it.

use tonic::{Status, metadata::MetadataMap};

use super::{NAMESPACE, state::Shared, tokens::Kind};

/// A caller whose token is right.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) kind: Kind,
    pub(super) name: String,
}

impl Shared {
    /// The caller, of whichever kind.
    pub(super) fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let token = bearer(metadata)?;
        let kind = match one(metadata, "jumpstarter-kind")? {
            "Client" => Kind::Client,
            "Exporter" => Kind::Exporter,
            _ => return Err(kind_mismatch()),
        };
        let namespace = one(metadata, "jumpstarter-namespace")?;
        let name = one(metadata, "jumpstarter-name")?;
        let shown = format!("{} {namespace}/{name}", kind.name().to_lowercase());
        let state = self.look();
        let exists = match kind {
            Kind::Client => state.clients.contains(name),
            Kind::Exporter => state.exporters.contains_key(name),
        };
        if namespace != NAMESPACE || !exists {
            return Err(Status::unknown(format!("{shown}: \"{name}\" not found")));
        }
        let renewed = state.renewed.get(name).cloned();
        let renewed = renewed.filter(|_| kind == Kind::Exporter);
        if token != renewed.unwrap_or_else(|| self.token(kind, name)) {
            let text = format!("permission denied for {shown}");
            return Err(Status::permission_denied(text));
        }
        let name = name.to_owned();
        Ok(Caller { kind, name })
    }

    pub(super) fn exporter(&self, metadata: &MetadataMap) -> Result<String, Status> {
        self.of_kind(Kind::Exporter, metadata)
    }

    pub(super) fn client(&self, metadata: &MetadataMap) -> Result<String, Status> {
        self.of_kind(Kind::Client, metadata)
    }

    fn of_kind(&self, kind: Kind, metadata: &MetadataMap) -> Result<String, Status> {
        let caller = self.caller(metadata)?;
        match caller.kind == kind {
            true => Ok(caller.name),
            false => Err(kind_mismatch()),
        }
    }
}

fn kind_mismatch() -> Status {
    Status::invalid_argument("object kind mismatch")
}

fn one<'a>(metadata: &'a MetadataMap, key: &str) -> Result<&'a str, Status> {
    let mut values = metadata.get_all(key).iter();
    let text = |what: &str| Status::invalid_argument(format!("{what} metadata: {key}"));
    let value = values.next().ok_or_else(|| text("missing"))?;
    if values.next().is_some() {
        return Err(text("multiple"));
    }
    value.to_str().map_err(|_| text("malformed"))
}

/// The token of `authorization`.
pub(super) fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    let mut values = metadata.get_all("authorization").iter();
    let Some(value) = values.next() else {
        return Err(Status::unauthenticated("missing authorization header"));
    };
    if values.next().is_some() {
        return Err(Status::invalid_argument("multiple authorization headers"));
    }
    let malformed = || Status::invalid_argument("malformed authorization header");
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
    match scheme.eq_ignore_ascii_case("bearer") && !token.contains(' ') {
        true => Ok(token),
        false => Err(malformed()),
    }
}

//! Resource names: `namespaces/NAMESPACE/COLLECTION/NAME`.

use tonic::Status;

use crate::{leases::Refusal, names::MAX_NAME};

/// As much of a wrong name as an answer quotes.
const QUOTED: usize = 80;

/// What there are resources of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collection {
    Exporters,
    Leases,
    Clients,
}

impl Collection {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Exporters => "exporters",
            Self::Leases => "leases",
            Self::Clients => "clients",
        }
    }
}

/// Of the namespace that is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a>(pub(super) &'a str);

impl Names<'_> {
    pub(super) fn write(self, collection: Collection, name: &str) -> String {
        format!("namespaces/{}/{}/{name}", self.0, collection.word())
    }

    /// Checks the name of the lab itself.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn parent(self, text: &str) -> Result<(), Status> {
        match text.strip_prefix("namespaces/") {
            Some(namespace) if is_name(namespace) => self.own(namespace),
            _ => Err(wrong(text, "namespaces/NAMESPACE")),
        }
    }

    /// The last part of the name of a resource.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn read(self, collection: Collection, text: &str) -> Result<&str, Status> {
        let (namespace, name) = split(collection, text)?;
        self.own(namespace)?;
        Ok(name)
    }

    /// The client that a lease is to go to.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn target(self, text: &str) -> Result<&str, Status> {
        let (namespace, name) = split(Collection::Clients, text)?;
        if namespace != self.0 {
            return Err(Refusal::TransferElsewhere.into());
        }
        Ok(name)
    }

    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    fn own(self, namespace: &str) -> Result<(), Status> {
        if namespace == self.0 {
            return Ok(());
        }
        Err(Status::permission_denied("namespace mismatch"))
    }
}

/// Namespace and name.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn split(collection: Collection, text: &str) -> Result<(&str, &str), Status> {
    let parts = text.strip_prefix("namespaces/").and_then(|rest| {
        let (namespace, rest) = rest.split_once('/')?;
        let (word, name) = rest.split_once('/')?;
        let right = word == collection.word() && is_name(namespace) && is_name(name);
        right.then_some((namespace, name))
    });
    parts.ok_or_else(|| {
        let word = collection.word();
        wrong(text, &format!("namespaces/NAMESPACE/{word}/NAME"))
    })
}

/// It could be that of something; what is none in other ways is just not found.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.contains('/')
}

fn wrong(text: &str, right: &str) -> Status {
    let text: String = text.chars().take(QUOTED).collect();
    Status::invalid_argument(format!(
        "invalid resource name {text:?}: it must be {right}, with names of at most {MAX_NAME} bytes"
    ))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let names = Names("lab");
        let text = names.write(Collection::Leases, "a.b-c");
        assert_eq!(text, "namespaces/lab/leases/a.b-c");
        assert_eq!(names.read(Collection::Leases, &text).unwrap(), "a.b-c");
        names.parent("namespaces/lab").unwrap();
    }

    #[test]
    fn wrong_shapes_and_other_namespaces_are_told_apart() {
        let names = Names("lab");
        let long = format!("namespaces/lab/leases/{}", "x".repeat(254));
        for text in [
            "",
            "x",
            "namespaces",
            "namespaces/lab",
            "namespaces/lab/leases",
            "namespaces/lab/leases/",
            "namespaces/lab/exporters/x",
            "namespaces/lab/leases/x/y",
            "namespaces//leases/x",
            "/namespaces/lab/leases/x",
            "Namespaces/lab/leases/x",
            &long,
        ] {
            let status = names.read(Collection::Leases, text).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{text}");
            assert!(status.message().len() < 300, "{}", status.message());
        }
        for text in [
            "",
            "lab",
            "namespaces/",
            "namespaces/lab/",
            "namespaces/lab/leases",
        ] {
            let status = names.parent(text).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{text}");
        }
        for status in [
            names.parent("namespaces/other").unwrap_err(),
            names
                .read(Collection::Leases, "namespaces/other/leases/x")
                .unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::PermissionDenied);
            assert_eq!(status.message(), "namespace mismatch");
        }
    }
}

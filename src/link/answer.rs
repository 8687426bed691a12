//! What the end of a call means: try again, ask a person, or do without.

use std::error::Error;

use tonic::{Code, Status};

use super::{backoff::Trouble, connect::ConnectError, identity::IdentityError};

/// Longest text of a server that is passed on to a person.
const MAX_TEXT: usize = 300;

/// What to do about a call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It may work in a moment.
    Passing,
    /// It will not work until somebody does what this says.
    Refused(String),
    /// The server does not know the call.
    Unsupported,
}

impl Answer {
    /// Reads the failure of any call to the controller.
    pub(crate) fn of(status: &Status) -> Self {
        if let Some(error) = find::<ConnectError>(status) {
            return match error.untrusted {
                true => Answer::Refused(error.to_string()),
                false => Answer::Passing,
            };
        }
        if let Some(error) = find::<IdentityError>(status) {
            return Answer::Refused(error.to_string());
        }
        match status.code() {
            Code::Unimplemented => Answer::Unsupported,
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::NotFound
            | Code::Unknown => match advice(status) {
                Some(advice) => Answer::Refused(format!("{advice} ({})", text(status))),
                None => Answer::Passing,
            },
            _ => Answer::Passing,
        }
    }

    /// Reads the failure of Register, which every controller has.
    pub(crate) fn of_register(status: &Status) -> Self {
        match Answer::of(status) {
            Answer::Unsupported => Answer::Refused(format!(
                "there is no Jumpstarter controller at the endpoint, only another gRPC or web server; check \
                 `endpoint` ({})",
                text(status)
            )),
            other => other,
        }
    }

    /// For the wait before the next attempt.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Answer::Passing => Trouble::Passing,
            Answer::Refused(_) | Answer::Unsupported => Trouble::Refused,
        }
    }
}

const NEW_TOKEN: &str = "the token is not accepted: create a new one for this exporter and put it into `token` or \
                         `tokenFile`";
const EXPIRED: &str = "the token has expired: create a new one for this exporter and put it into `token` or \
                       `tokenFile`";
const NO_EXPORTER: &str = "the controller knows no exporter of this name: create it there, or correct \
                           `metadata.name` and `metadata.namespace`";
const NOT_OURS: &str = "the token belongs to another exporter or client: check `metadata.name`, \
                        `metadata.namespace` and the token";
const METADATA: &str =
    "the controller does not accept how this exporter names itself: check `metadata` and the token";

/// Advice for a refusal, none when it is not about who we are. The real controller hands on plain
/// errors as UNKNOWN, so that only their texts tell them apart.
fn advice(status: &Status) -> Option<&'static str> {
    let message = status.message();
    let lower = message.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    if has("token is expired") || has("token has expired") {
        return Some(EXPIRED);
    }
    // Leases are not found either; that is about the lease.
    let no_exporter =
        has("not found") && (lower.starts_with("exporter ") || has("exporters.jumpstarter.dev"));
    let bad_token = ["oidc:", "failed to authenticate token", "verify token"];
    match status.code() {
        Code::Unknown if bad_token.iter().any(|part| has(part)) => Some(NEW_TOKEN),
        Code::Unknown | Code::NotFound => no_exporter.then_some(NO_EXPORTER),
        Code::PermissionDenied => Some(NOT_OURS),
        Code::Unauthenticated => Some(NEW_TOKEN),
        Code::InvalidArgument if has("object kind mismatch") => Some(NOT_OURS),
        Code::InvalidArgument if has("authorization header") => Some(NEW_TOKEN),
        Code::InvalidArgument => Some(METADATA),
        _ => None,
    }
}

/// A status in words for logs: our own words on a connection that could not be made, rather than
/// tonic's "transport error".
pub(crate) fn cause(status: &Status) -> String {
    if let Some(error) = find::<ConnectError>(status) {
        return error.to_string();
    }
    match status.source() {
        // A code that tonic made up for a broken connection says less than what broke it.
        Some(source) => chain(source),
        None => format!("{:?}: {}", status.code(), text(status)),
    }
}

/// What h2 and rustls say of calls whose connection is no more. Why it ended is known to the
/// connection alone.
const LOST: [&str; 2] = [
    "stream closed because of a broken pipe",
    "peer closed connection without sending TLS close_notify",
];
const CONNECTION_LOST: &str =
    "the connection was lost: the server or something on the way closed it, or pings got no answer";

/// An error with what is behind it, each thing said once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = String::new();
    for text in sources(error).map(ToString::to_string) {
        if LOST.iter().any(|lost| text.starts_with(lost)) {
            return CONNECTION_LOST.to_owned();
        }
        if said.contains(&text) || text == "transport error" {
            continue;
        }
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(&text);
    }
    if said.is_empty() {
        error.to_string()
    } else {
        said
    }
}

/// What of this kind is behind a status.
fn find<E: Error + 'static>(status: &Status) -> Option<&E> {
    let source = status.source()?;
    sources(source).find_map(|error| error.downcast_ref())
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
}

/// What the server said, fit for one line of a log.
fn text(status: &Status) -> String {
    let message = status.message();
    if message.is_empty() {
        return status.code().to_string();
    }
    let mut text: String = message.chars().take(MAX_TEXT).collect();
    if text.len() < message.len() {
        text.push('…');
    }
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_real_controller_says() {
        let passing = Answer::Passing;
        for (code, message, advice) in [
            (Code::Unavailable, "connection refused", None),
            (Code::DeadlineExceeded, "", None),
            (Code::Internal, "etcdserver: request timed out", None),
            (Code::Unknown, "etcdserver: leader changed", None),
            (Code::ResourceExhausted, "", None),
            (
                Code::Unauthenticated,
                "missing authorization header",
                Some(NEW_TOKEN),
            ),
            (
                Code::Unknown,
                "failed to authenticate token",
                Some(NEW_TOKEN),
            ),
            (
                Code::Unknown,
                "oidc: verify token: bad signature",
                Some(NEW_TOKEN),
            ),
            (
                Code::Unknown,
                "oidc: verify token: oidc: token is expired (Token Expiry: 2026-01-01)",
                Some(EXPIRED),
            ),
            (
                Code::InvalidArgument,
                "malformed authorization header",
                Some(NEW_TOKEN),
            ),
            (
                Code::InvalidArgument,
                "missing metadata: jumpstarter-kind",
                Some(METADATA),
            ),
            (
                Code::InvalidArgument,
                "resource name required for",
                Some(METADATA),
            ),
            (
                Code::InvalidArgument,
                "object kind mismatch",
                Some(NOT_OURS),
            ),
            (
                Code::PermissionDenied,
                "permission denied for exporter lab/a",
                Some(NOT_OURS),
            ),
            (
                Code::Unknown,
                "exporter lab/a: exporters.jumpstarter.dev \"a\" not found",
                Some(NO_EXPORTER),
            ),
            (
                Code::NotFound,
                "exporters.jumpstarter.dev \"a\" not found",
                Some(NO_EXPORTER),
            ),
            // These are about a lease, and pass with it.
            (
                Code::Unknown,
                "leases.jumpstarter.dev \"x\" not found",
                None,
            ),
            (Code::Unknown, "permission denied", None),
            (Code::NotFound, "lease x not found", None),
        ] {
            let status = Status::new(code, message);
            match (advice, Answer::of(&status)) {
                (None, answer) => assert_eq!(answer, passing, "{message}"),
                (Some(advice), Answer::Refused(text)) => {
                    assert_eq!(text, format!("{advice} ({message})"));
                }
                (_, answer) => panic!("{message}: {answer:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_call_is_one_thing_and_an_unknown_register_another() {
        let status = Status::unimplemented("unknown service");
        assert_eq!(Answer::of(&status), Answer::Unsupported);
        let Answer::Refused(text) = Answer::of_register(&status) else {
            panic!()
        };
        assert!(text.contains("no Jumpstarter controller"), "{text}");
        let busy = Status::unavailable("");
        assert_eq!(Answer::of_register(&busy), Answer::Passing);
        assert_eq!(Answer::of(&busy).trouble(), Trouble::Passing);
    }

    #[test]
    fn a_server_cannot_flood_or_forge_the_log() {
        let said = cause(&Status::internal(format!(
            "a\nb\u{1b}[31m{}",
            "x".repeat(9000)
        )));
        assert!(
            said.starts_with("Internal: a b [31mxxx") && said.ends_with('…'),
            "{said}"
        );
        assert!(said.chars().count() < MAX_TEXT + 20);
    }

    #[test]
    fn a_connection_that_is_no_more_is_told_without_the_words_of_libraries() {
        for text in LOST {
            let text = format!("{text}: https://docs.example/manual");
            let status = Status::from_error(Box::new(std::io::Error::other(text.clone())));
            assert_eq!(cause(&status), CONNECTION_LOST, "{text}");
        }
    }
}

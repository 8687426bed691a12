//! What one exporter said, in short.

use rigd_proto::v1::ExporterStatus;

use super::{Heard, What};

/// The words of an exporter in order: calls by name, reports by their text.
pub(crate) fn story(heard: &[Heard], exporter: &str) -> Vec<String> {
    let word = |it: &Heard| {
        Some(match &it.what {
            What::Register { .. } => "register".to_owned(),
            What::Unregister { reason } => format!("unregister: {reason}"),
            What::Report {
                message,
                release: false,
                ..
            } => message.clone(),
            What::Report { message, .. } => format!("releasing: {message}"),
            What::StatusOpened => "status".to_owned(),
            What::Listen { .. } => "listen".to_owned(),
            What::ReleaseLease { .. } => "release".to_owned(),
            _ => return None,
        })
    };
    let own = heard.iter().filter(|it| it.from == exporter);
    own.filter_map(word).collect()
}

/// Whether this is what the exporter reported last.
pub(crate) fn reported(heard: &[Heard], exporter: &str, wanted: ExporterStatus) -> bool {
    let last = heard.iter().rev().find_map(|it| match &it.what {
        What::Report { status, .. } if it.from == exporter => Some(*status),
        _ => None,
    });
    last == Some(wanted)
}

//! The one place where errors become gRPC codes.
//!
//! | case | code |
//! |---|---|
//! | unknown method, or wrong kind of call | NOT_FOUND, texts that clients match on |
//! | unknown or malformed uuid | UNKNOWN (a NOT_FOUND would read as "no such method") |
//! | wrong arguments, bad data in a codec | INVALID_ARGUMENT |
//! | fenced, busy, forbidden by a rule | FAILED_PRECONDITION |
//! | absent, unplugged, connection lost | UNAVAILABLE |
//! | device or operating system | INTERNAL |
//! | a bound was reached | RESOURCE_EXHAUSTED |
//! | deadline on hardware | DEADLINE_EXCEEDED |
//! | ability the device has not | UNIMPLEMENTED |
//! | the caller went away, or a stream was closed by somebody else | CANCELLED |

use rigd_driver::DriverError;
use tonic::{Code, Status};

/// Longest detail text. gRPC peers refuse trailers above 8 KiB to 16 KiB with RESOURCE_EXHAUSTED,
/// which would hide the error itself; percent-encoding may triple the bytes of non-ASCII text.
const MAX_DETAILS: usize = 8 * 1024;

/// The status for a failed piece of driver work.
pub(crate) fn status(error: &DriverError) -> Status {
    let code = match error {
        DriverError::NoSuchMethod(_) | DriverError::WrongKind { .. } => Code::NotFound,
        DriverError::Unimplemented(_) => Code::Unimplemented,
        DriverError::InvalidArgument(_) => Code::InvalidArgument,
        DriverError::Fenced(_) | DriverError::Busy { .. } | DriverError::FailedPrecondition(_) => {
            Code::FailedPrecondition
        }
        DriverError::Unavailable(_) => Code::Unavailable,
        DriverError::Device(_) => Code::Internal,
        DriverError::Exhausted(_) => Code::ResourceExhausted,
        DriverError::Timeout(_) => Code::DeadlineExceeded,
        DriverError::Cancelled(_) => Code::Cancelled,
        // `DriverError` may grow; what has no row here is unknown by definition.
        _ => Code::Unknown,
    };
    Status::new(code, cut(error.to_string()))
}

/// Cuts a text to what fits into a trailer, at a character border, and says so.
fn cut(mut text: String) -> String {
    const MARK: &str = " … (cut)";
    let encoded = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            1
        } else {
            3 * c.len_utf8()
        }
    };
    let mut size = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        size += encoded(c);
        (size > MAX_DETAILS - 64).then_some(at)
    });
    if let Some(end) = end {
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_case_has_its_code() {
        let text = || "x".to_owned();
        let busy = DriverError::Busy {
            method: "write".into(),
            since: Duration::from_secs(12),
        };
        let kind = DriverError::WrongKind {
            method: "on".into(),
            marker: "marker_streamcall",
        };
        for (error, code, message) in [
            (
                DriverError::NoSuchMethod("on".into()),
                Code::NotFound,
                "method on not found on driver",
            ),
            (
                kind,
                Code::NotFound,
                "method on missing marker marker_streamcall",
            ),
            (DriverError::Unimplemented(text()), Code::Unimplemented, "x"),
            (
                DriverError::InvalidArgument(text()),
                Code::InvalidArgument,
                "x",
            ),
            (busy, Code::FailedPrecondition, "busy: write since 12 s"),
            (
                DriverError::FailedPrecondition(text()),
                Code::FailedPrecondition,
                "x",
            ),
            (DriverError::Unavailable(text()), Code::Unavailable, "x"),
            (DriverError::Device(text()), Code::Internal, "x"),
            (DriverError::Exhausted(text()), Code::ResourceExhausted, "x"),
            (DriverError::Timeout(text()), Code::DeadlineExceeded, "x"),
            (DriverError::Cancelled(text()), Code::Cancelled, "x"),
            (DriverError::Unknown(text()), Code::Unknown, "x"),
        ] {
            let status = status(&error);
            assert_eq!((status.code(), status.message()), (code, message));
        }
    }

    #[test]
    fn long_details_are_cut_to_what_a_trailer_holds() {
        for text in ["x".repeat(20_000), "ä".repeat(20_000), "日".repeat(20_000)] {
            let status = status(&DriverError::Unknown(text));
            let on_wire: usize = status
                .message()
                .bytes()
                .map(|b| {
                    if b.is_ascii_graphic() || b == b' ' {
                        1
                    } else {
                        3
                    }
                })
                .sum();
            assert!(on_wire <= MAX_DETAILS, "{on_wire}");
            assert!(status.message().ends_with("(cut)"));
        }
    }
}

//! Records of driver calls for the lab's log collection: started, completed, failed.
//!
//! Nothing is made while nobody collects, and clients never see them: what went wrong in a driver is
//! told to them by the line of the driver.

use std::time::SystemTime;

use rigd_driver::{DriverError, Instance};
use rigd_proto::v1::LogSource;

use super::{LogHub, LogLine};

/// A call under way. Dropped before it is done, its caller went away.
pub(super) struct Operation<'a>(Option<Open<'a>>);

struct Open<'a> {
    hub: &'a LogHub,
    driver_type: &'static str,
    path: &'a str,
    method: &'a str,
}

impl<'a> Operation<'a> {
    /// A call of `method` begins.
    pub(super) fn start(hub: &'a LogHub, instance: &'a Instance, method: &'a str) -> Self {
        Self(hub.is_collected().then(|| {
            let open = Open {
                hub,
                driver_type: instance.blueprint().category(),
                path: instance.path(),
                method,
            };
            open.tell("DEBUG", "Operation started", []);
            open
        }))
    }

    /// It is over.
    pub(super) fn done<T>(mut self, outcome: &Result<T, DriverError>) {
        let Some(open) = self.0.take() else { return };
        match outcome {
            Ok(_) => open.tell(
                "INFO",
                "Operation completed",
                [("result", "success".into())],
            ),
            Err(error) => open.failed(kind(error), error.to_string()),
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.failed("internal_error", "the caller went away".into());
        }
    }
}

impl Open<'_> {
    fn failed(&self, kind: &str, error: String) {
        let fields = [
            ("result", "failure".into()),
            ("error_type", kind.into()),
            ("error", error),
        ];
        self.tell("WARNING", "Operation failed", fields);
    }

    fn tell<const N: usize>(
        &self,
        severity: &'static str,
        message: &str,
        fields: [(&str, String); N],
    ) {
        self.hub.record(|| {
            let instance = ("instance", self.path.to_owned());
            let fields = fields.into_iter().chain([instance]);
            LogLine {
                severity,
                message: message.into(),
                source: LogSource::Driver,
                driver_type: Some(self.driver_type.into()),
                operation: Some(self.method.into()),
                fields: fields.map(|(name, value)| (name.into(), value)).collect(),
                time: SystemTime::now(),
            }
        });
    }
}

/// The names by which the lab sorts failures.
fn kind(error: &DriverError) -> &'static str {
    match error {
        DriverError::NoSuchMethod(_)
        | DriverError::WrongKind { .. }
        | DriverError::Unimplemented(_) => "not_implemented",
        DriverError::InvalidArgument(_) => "validation_error",
        DriverError::Timeout(_) => "timeout",
        DriverError::Unavailable(_) => "connection_error",
        DriverError::Device(_) => "device_error",
        _ => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_once_with_what_the_lab_sorts_by() {
        let hub = Arc::new(LogHub::default());
        let mut collector = hub.collector();
        let open = || Open {
            hub: &hub,
            driver_type: "power",
            path: "dut.power",
            method: "on",
        };
        Operation(Some(open())).done(&Ok(()));
        Operation(Some(open())).done::<()>(&Err(DriverError::Timeout("too slow".into())));
        drop(Operation(Some(open())));

        let mut next = async || {
            let line = collector.next().await.unwrap();
            assert_eq!(line.operation.as_deref(), Some("on"));
            assert_eq!(line.driver_type.as_deref(), Some("power"));
            let fields = line.fields.into_iter().map(|(k, v)| format!("{k}={v}"));
            (line.message, fields.collect::<Vec<_>>())
        };
        let completed = ["result=success", "instance=dut.power"];
        let completed = completed.map(str::to_owned).to_vec();
        assert_eq!(next().await, ("Operation completed".into(), completed));
        for (kind, error) in [
            ("timeout", "too slow"),
            ("internal_error", "the caller went away"),
        ] {
            let failed = vec![
                "result=failure".to_owned(),
                format!("error_type={kind}"),
                format!("error={error}"),
                "instance=dut.power".to_owned(),
            ];
            assert_eq!(next().await, ("Operation failed".into(), failed));
        }
        hub.push(LogLine {
            message: "end".into(),
            ..line()
        });
        assert_eq!(collector.next().await.unwrap().message, "end");
    }

    fn line() -> LogLine {
        LogLine {
            severity: "INFO",
            message: String::new(),
            source: LogSource::System,
            driver_type: None,
            operation: None,
            fields: Vec::new(),
            time: SystemTime::UNIX_EPOCH,
        }
    }
}

//! What an exporter tells about its session: logs, status, and its end.

use rigd_proto::v1::{
    EndSessionRequest, ExporterStatus, GetStatusRequest, LogSource, LogStreamResponse,
};
use tonic::Streaming;

use crate::{Error, Exporter, error::Place};

/// State of an exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: ExporterStatus,
    /// Text for people.
    pub message: String,
    /// Counts changes within a session.
    pub version: u64,
    /// The state before, if it ever changed.
    pub previous: Option<ExporterStatus>,
}

/// Answer to [`Exporter::end_session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// Whether there was a session to end.
    pub accepted: bool,
    /// Text for people.
    pub message: String,
}

/// One line of an exporter's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.
    pub severity: String,
    /// The text.
    pub message: String,
    /// Who wrote it.
    pub source: LogSource,
}

impl Exporter {
    /// Asks for the state.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], [`Error::Timeout`] after 10 s.
    pub async fn status(&self) -> Result<Status, Error> {
        let mut service = self.service();
        let call = service.get_status(self.request(GetStatusRequest {}));
        let answer = self.answer(&Place::exporter("GetStatus"), call).await?;
        Ok(Status {
            state: answer.status(),
            previous: answer.previous_status.map(|_| answer.previous_status()),
            version: answer.status_version,
            message: answer.message.unwrap_or_default(),
        })
    }

    /// Ends the session early; the exporter answers before its end hook runs.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], [`Error::Timeout`] after 10 s.
    pub async fn end_session(&self) -> Result<SessionEnd, Error> {
        let mut service = self.service();
        let call = service.end_session(self.request(EndSessionRequest {}));
        let answer = self.answer(&Place::exporter("EndSession"), call).await?;
        Ok(SessionEnd {
            accepted: answer.success,
            message: answer.message.unwrap_or_default(),
        })
    }

    /// Follows the log, beginning with the lines that the exporter still has.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn logs(&self) -> Result<Logs, Error> {
        let place = Place::exporter("LogStream");
        match self.service().log_stream(self.request(())).await {
            Ok(response) => Ok(Logs {
                stream: response.into_inner(),
                place,
            }),
            Err(status) => Err(place.refused(status)),
        }
    }
}

/// The lines of an exporter's log.
#[derive(Debug)]
pub struct Logs {
    stream: Streaming<LogStreamResponse>,
    place: Place,
}

impl Logs {
    /// The next line; `None` when the exporter sends no more. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the exporter stops.
    pub async fn next(&mut self) -> Result<Option<LogLine>, Error> {
        let line = self.stream.message().await;
        Ok(line
            .map_err(|status| self.place.refused(status))?
            .map(|line| LogLine {
                source: line.source(),
                severity: line.severity,
                message: line.message,
            }))
    }
}

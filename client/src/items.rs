//! Results of a streaming call, one by one.

use std::marker::PhantomData;

use rigd_proto::{v1::StreamingDriverCallResponse, value};
use serde::de::DeserializeOwned;
use tonic::Streaming;

use crate::{Error, error::Place};

/// The results of a streaming call. Dropping it cancels the call.
#[derive(Debug)]
pub struct Items<T = serde_json::Value> {
    stream: Streaming<StreamingDriverCallResponse>,
    place: Place,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Items<T> {
    pub(crate) fn new(stream: Streaming<StreamingDriverCallResponse>, place: Place) -> Self {
        Self {
            stream,
            place,
            item: PhantomData,
        }
    }

    /// Reads the results as another type.
    pub(crate) fn of<U: DeserializeOwned>(self) -> Items<U> {
        Items::new(self.stream, self.place)
    }

    /// The next result; `None` when the call is over. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the call failed, [`Error::Protocol`] when the result is not a `T`.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        let message = self.stream.message().await;
        let Some(message) = message.map_err(|status| self.place.refused(status))? else {
            return Ok(None);
        };
        let item = value::to_json(message.result.unwrap_or_default())
            .map_err(|error| self.place.protocol(error.to_string()))?;
        serde_json::from_value(item)
            .map(Some)
            .map_err(|error| self.place.protocol(format!("unexpected result: {error}")))
    }
}

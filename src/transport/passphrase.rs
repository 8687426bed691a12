//! The passphrase that clients of a TCP listener may have to know.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use subtle::ConstantTimeEq;
use tonic::{Status, metadata::MetadataMap};

/// Metadata key that carries it.
const KEY: &str = "x-jumpstarter-passphrase";
/// How often a refusal is told: a line for each would let anybody who can connect fill the log.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// A passphrase, never shown.
#[derive(Clone)]
pub struct Passphrase {
    text: String,
    /// When the log was last told of a refusal.
    told: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

impl Passphrase {
    /// From the text of a file: the line end that editors add does not count.
    ///
    /// # Errors
    /// It is empty, or holds what a gRPC header cannot carry.
    pub fn from_file_text(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err("the passphrase is empty");
        }
        if !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err(
                "the passphrase holds characters that a gRPC header cannot carry: \
                        only printable ASCII can be sent",
            );
        }
        Ok(Self {
            text: text.to_owned(),
            told: Arc::default(),
        })
    }

    /// Checks a request. When the key is sent twice the last value counts.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let given = metadata.get_all(KEY).iter().next_back();
        let given = given.map(|value| value.as_bytes()).unwrap_or_default();
        if bool::from(given.ct_eq(self.text.as_bytes())) {
            Ok(())
        } else {
            self.tell();
            Err(Status::unauthenticated("invalid or missing passphrase"))
        }
    }

    /// Tells the log of a refusal, in upstream's words, which people search for.
    fn tell(&self) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| now - at >= TELL_AGAIN) {
            *told = Some(now);
            tracing::warn!("authentication failed: invalid or missing passphrase");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_case_matters() {
        let passphrase = Passphrase::from_file_text("Secret one\n").unwrap();
        let mut metadata = MetadataMap::new();
        assert!(passphrase.check(&metadata).is_err());
        metadata.append(KEY, "secret one".parse().unwrap());
        let error = passphrase.check(&metadata).unwrap_err();
        assert_eq!(error.message(), "invalid or missing passphrase");
        metadata.append(KEY, "Secret one".parse().unwrap());
        assert!(passphrase.check(&metadata).is_ok());
        metadata.append(KEY, "Secret one ".parse().unwrap());
        assert!(passphrase.check(&metadata).is_err());
    }

    #[test]
    fn a_passphrase_that_cannot_be_sent_is_refused() {
        assert!(Passphrase::from_file_text("\n").is_err());
        assert!(Passphrase::from_file_text("pässword").is_err());
        assert_eq!(
            format!("{:?}", Passphrase::from_file_text("x").unwrap()),
            "Passphrase"
        );
    }
}

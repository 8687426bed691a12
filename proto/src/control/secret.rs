//! What may be shown of messages that hold secrets, in logs and in the texts of failed tests.

use std::fmt;

use super::v1::{Credentials, ExportResponse};

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExportResponse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ExportResponse").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::v1::CreateResponse;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            name: "bench".into(),
            token: "eyJ.secret.sig".into(),
            ..Credentials::default()
        };
        let answer = CreateResponse {
            credentials: Some(credentials),
        };
        let shown = format!("{answer:?}");
        assert!(
            shown.contains("bench") && !shown.contains("secret"),
            "{shown}"
        );
        let state = ExportResponse {
            state: "secret".into(),
        };
        assert!(!format!("{state:?}").contains("secret"));
    }
}

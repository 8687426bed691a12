//! Keys: the right to act on hardware, handed out by a lease and taken back at its end.
//!
//! ```text
//!   KeyOwner::issue ──> live ──revoke(reason)──> revoked (for ever)
//! ```
//!
//! The owner (the lease) revokes; everyone else holds clones of [`Key`]. An instance checks the key
//! where it takes work from its queue, not where the request arrives, so work that waited while
//! its lease ended never acts.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Whose work a key covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Clients of a lease.
    Client,
    /// Hooks at the boundaries of a lease.
    Hook,
    /// The daemon itself (safe state, the lab host's own command line).
    Daemon,
}

/// The key was revoked, or the work under it was stopped; it must not act any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    /// The key was revoked, for this reason.
    #[error("fenced: {0}")]
    Revoked(String),
    /// This piece of work alone was stopped. The text begins with the rule that says so.
    #[error("{0}")]
    Stopped(String),
}

#[derive(Debug)]
struct Inner {
    kind: KeyKind,
    token: CancellationToken,
    reason: OnceLock<Fenced>,
    /// The key that this one is a part of.
    whole: Option<Key>,
    /// A driver has it, for a child that is reserved for it.
    for_child: bool,
}

/// A right to act. Cheap to clone; travels with every piece of work.
#[derive(Debug, Clone)]
pub struct Key(Arc<Inner>);

impl Key {
    /// Whose work this key covers.
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }

    /// `Ok` while the key is live.
    pub fn check(&self) -> Result<(), Fenced> {
        if self.0.token.is_cancelled() {
            Err(self.fenced())
        } else {
            Ok(())
        }
    }

    /// Resolves when the key is revoked, with the reason. Cancel-safe.
    pub async fn revoked(&self) -> Fenced {
        self.0.token.cancelled().await;
        self.fenced()
    }

    /// A key for one piece of work, which can be stopped without the others. It ends with this one.
    pub(crate) fn narrowed(&self) -> Self {
        Self(Arc::new(Inner {
            kind: self.0.kind,
            token: self.0.token.child_token(),
            reason: OnceLock::new(),
            whole: Some(self.clone()),
            for_child: self.0.for_child,
        }))
    }

    /// The same right for what a driver does with a child that is [reserved](crate::Instance::reserve)
    /// for it. It ends with this one.
    #[must_use]
    pub fn for_child(&self) -> Self {
        Self(Arc::new(Inner {
            kind: self.0.kind,
            token: self.0.token.child_token(),
            reason: OnceLock::new(),
            whole: Some(self.clone()),
            for_child: true,
        }))
    }

    pub(crate) fn is_for_child(&self) -> bool {
        self.0.for_child
    }

    /// Stops the work under a narrowed key; `text` begins with the rule that says so.
    pub(crate) fn stop(&self, text: String) {
        // A second reason is of no interest: the work ended for the first one.
        self.0.reason.set(Fenced::Stopped(text)).ok();
        self.0.token.cancel();
    }

    fn fenced(&self) -> Fenced {
        if let Some(reason) = self.0.reason.get() {
            return reason.clone();
        }
        match &self.0.whole {
            Some(whole) => whole.fenced(),
            None => Fenced::Revoked("the lease has ended".into()),
        }
    }
}

/// The side that can take the key back. Dropping it revokes the key.
#[derive(Debug)]
pub struct KeyOwner(Key);

impl KeyOwner {
    /// A new live key.
    pub fn issue(kind: KeyKind) -> Self {
        Self(Key(Arc::new(Inner {
            kind,
            token: CancellationToken::new(),
            reason: OnceLock::new(),
            whole: None,
            for_child: false,
        })))
    }

    /// The key to hand out.
    pub fn key(&self) -> Key {
        self.0.clone()
    }

    /// Ends everything the key covers. The first reason stays.
    pub fn revoke(&self, reason: impl Into<String>) {
        // A second reason is of no interest: the work ended for the first one.
        self.0.0.reason.set(Fenced::Revoked(reason.into())).ok();
        self.0.0.token.cancel();
    }
}

impl Drop for KeyOwner {
    fn drop(&mut self) {
        self.0.0.token.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revoked_key_says_why_and_stays_revoked() {
        let owner = KeyOwner::issue(KeyKind::Client);
        let key = owner.key();
        assert!(key.check().is_ok());
        owner.revoke("lease demo ended");
        owner.revoke("something later");
        assert_eq!(key.revoked().await.to_string(), "fenced: lease demo ended");
        assert!(key.check().is_err());
    }

    #[test]
    fn a_narrowed_key_is_stopped_alone_and_ends_with_the_whole() {
        let owner = KeyOwner::issue(KeyKind::Client);
        let (stopped, other) = (owner.key().narrowed(), owner.key().narrowed());
        stopped.stop("interlock lid: it was opened".into());
        owner.key().check().unwrap();
        other.check().unwrap();
        owner.revoke("lease demo ended");
        let told = [stopped, other].map(|key| key.check().unwrap_err().to_string());
        assert_eq!(
            told,
            ["interlock lid: it was opened", "fenced: lease demo ended"]
        );
    }

    #[test]
    fn dropping_the_owner_revokes() {
        let owner = KeyOwner::issue(KeyKind::Hook);
        let key = owner.key();
        drop(owner);
        assert_eq!(
            key.check().unwrap_err().to_string(),
            "fenced: the lease has ended"
        );
    }
}

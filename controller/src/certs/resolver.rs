//! The certificate of the next handshake, which can be another one than that of the last.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Refreshed;

/// Whatever name the client asks for: one port, one certificate.
pub(super) struct Resolver(RwLock<Arc<CertifiedKey>>);

impl Resolver {
    pub(super) fn new(key: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(key)))
    }

    /// Takes another one, when it is one.
    pub(super) fn swap(&self, key: CertifiedKey) -> Refreshed {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.cert == key.cert {
            return Refreshed::Same;
        }
        *current = Arc::new(key);
        Refreshed::Renewed
    }

    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Resolver(…)")
    }
}

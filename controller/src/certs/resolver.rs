//! The certificate of the next handshake, which can be another one than that of the last.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Material;

/// Whatever name the client asks for: one port, one certificate. With it, what clients are to trust.
pub(super) struct Resolver(RwLock<Arc<Material>>);

impl Resolver {
    pub(super) fn new(material: Material) -> Self {
        Self(RwLock::new(Arc::new(material)))
    }

    /// Takes another one, and gives that of before.
    pub(super) fn swap(&self, material: Material) -> Arc<Material> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(material))
    }

    pub(super) fn current(&self) -> Arc<Material> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().key))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Resolver(…)")
    }
}

//! What a node proves itself with: a key pair that is made at each start, or one that a certificate authority of the
//! operator's has signed. Either way its fingerprint stands in the member table. How it is proved is elsewhere.

use std::{fmt, io, sync::Arc, time::Duration};

use ring::{rand::SystemRandom, signature::Ed25519KeyPair};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring::{default_provider, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use super::member::Fingerprint;
use crate::clock;

/// A node's key pair, with its certificates if there are any.
#[derive(Clone)]
pub struct Identity {
    pub(super) fingerprint: Fingerprint,
    pub(super) certified: Arc<CertifiedKey>,
    /// Who has to have signed the others' keys; nothing where their being in the member table is enough.
    pub(super) roots: Option<Arc<RootCertStore>>,
}

impl Identity {
    /// A new key pair, without a certificate. It ends with this value, and never touches a disk.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> io::Result<Self> {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| io::Error::other("the system gives no random bytes to make a key from"))?;
        let key =
            any_supported_type(&PrivatePkcs8KeyDer::from(pair.as_ref()).into()).map_err(io::Error::other)?;
        let public = key.public_key().ok_or_else(|| io::Error::other("the new key has no public half"))?;
        let fingerprint = Fingerprint::of(&public);
        let certified = CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key);
        Ok(Self { fingerprint, certified: Arc::new(certified), roots: None })
    }

    /// A key pair of the operator's, whose public half an authority of the operator's has signed.
    ///
    /// # Errors
    /// [`Unusable`] says which of the three does not fit the others.
    pub fn certified(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        roots: RootCertStore,
    ) -> Result<Self, Unusable> {
        let key = any_supported_type(key).map_err(|_| Unusable::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| Unusable::OtherKey)?;
        let (end, intermediates) = certified.cert.split_first().ok_or(Unusable::OtherKey)?;
        let now = Duration::from_secs(u64::try_from(clock::now().as_seconds()).unwrap_or_default());
        let now = UnixTime::since_unix_epoch(now);
        let algorithms = default_provider().signature_verification_algorithms.all;
        let public = ParsedCertificate::try_from(end).and_then(|certificate| {
            verify_server_cert_signed_by_trust_anchor(&certificate, &roots, intermediates, now, algorithms)?;
            Ok(certificate.subject_public_key_info())
        });
        let public = public.map_err(|cause| Unusable::Chain(cause.to_string()))?;
        let (certified, roots) = (Arc::new(certified), Some(Arc::new(roots)));
        Ok(Self { fingerprint: Fingerprint::of(&public), certified, roots })
    }

    /// What stands in the member table.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Of a kind that is not known.
    #[error("TOLLGATE_PEER_KEY: expected an Ed25519, ECDSA or RSA key, found another kind")]
    Key,
    /// The certificate is of another key.
    #[error(
        "TOLLGATE_PEER_KEY: expected the key of the first certificate in TOLLGATE_PEER_CERT, found another one"
    )]
    OtherKey,
    /// The authority has not signed it, or its time is over.
    #[error(
        "TOLLGATE_PEER_CERT: expected a certificate that TOLLGATE_PEER_CA has signed for TLS servers and clients, found: {0}"
    )]
    Chain(String),
}

/// Reads certificates in PEM, of which there must be one.
#[must_use]
pub fn chain_from_pem(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}

/// Reads a private key in PEM.
#[must_use]
pub fn key_from_pem(pem: &str) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()
}

/// Reads the certificates of authorities in PEM, of which there must be one.
#[must_use]
pub fn roots_from_pem(pem: &str) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_from_pem(pem)? {
        roots.add(certificate).ok()?;
    }
    Some(roots)
}

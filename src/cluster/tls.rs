//! TLS 1.3 between nodes: both sides prove the key that the member table has of them. Without an authority of the
//! operator's keys travel as they are (RFC 7250); with one, in certificates that it has signed. No other version, no
//! resumption, no early data.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    RootCertStore, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring::default_provider, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use super::{identity::Identity, member::Fingerprint};

/// The protocol that is spoken inside. Kinds of messages and fields may be added to it; what changes a meaning is another.
const PROTOCOL: &[u8] = b"tollgate/2";

/// For a connection to the node that has this key, and to no other.
pub(super) fn client(identity: &Identity, expected: Fingerprint) -> io::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(identity, Some(expected))))
        .with_client_cert_resolver(Arc::new(Presented::of(identity)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name under which the node with this key answers.
pub(super) fn server_name(key: Fingerprint) -> io::Result<ServerName<'static>> {
    ServerName::try_from(key.server_name()).map_err(io::Error::other)
}

/// For connections from nodes. Any key may call that is proved, and signed where there is an authority; which are
/// members' is looked up afterwards.
pub(super) fn server(identity: &Identity) -> io::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_client_cert_verifier(Arc::new(Verifier::new(identity, None)))
        .with_cert_resolver(Arc::new(Presented::of(identity)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The fingerprint of the key that the other side has proved.
pub(super) fn proved(presented: Option<&[CertificateDer<'_>]>, identity: &Identity) -> Option<Fingerprint> {
    let end = presented?.first()?;
    fingerprint(end, identity.roots.is_some()).ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn fingerprint(end: &CertificateDer<'_>, is_certificate: bool) -> Result<Fingerprint, Error> {
    if is_certificate {
        let public = ParsedCertificate::try_from(end)?.subject_public_key_info();
        return Ok(Fingerprint::of(&public));
    }
    Ok(Fingerprint::of(end))
}

/// This node's own key.
#[derive(Debug)]
struct Presented {
    certified: Arc<CertifiedKey>,
    server_name: String,
    is_raw: bool,
}

impl Presented {
    fn of(identity: &Identity) -> Self {
        Self {
            certified: Arc::clone(&identity.certified),
            server_name: identity.fingerprint.server_name(),
            is_raw: identity.roots.is_none(),
        }
    }
}

impl ResolvesServerCert for Presented {
    /// Before anything is computed for the caller, and nothing unless it knows which key to ask for.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (hello.server_name() == Some(self.server_name.as_str())).then(|| Arc::clone(&self.certified))
    }

    fn only_raw_public_keys(&self) -> bool {
        self.is_raw
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }

    fn only_raw_public_keys(&self) -> bool {
        self.is_raw
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Checks what the other side presents.
#[derive(Debug)]
struct Verifier {
    /// The only key that will do; on the side that is called, any.
    expected: Option<Fingerprint>,
    roots: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(identity: &Identity, expected: Option<Fingerprint>) -> Self {
        let algorithms = default_provider().signature_verification_algorithms;
        Self { expected, roots: identity.roots.clone(), algorithms }
    }

    /// The authority has signed it, if there is one, and it is the key that is expected. Names in a certificate say
    /// nothing here: the member table says whose key it is.
    fn verify(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let found = fingerprint(end, self.roots.is_some())?;
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end)?;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if self.expected.is_some_and(|expected| expected != found) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }

    fn verify_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.roots.is_some() {
            return verify_tls13_signature(message, end, signature, &self.algorithms);
        }
        let key = SubjectPublicKeyInfoDer::from(end.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

/// What both sides check alike, whichever side presents the key.
macro_rules! checks_of_both_sides {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            end: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.verify_signature(message, end, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }

        fn requires_raw_public_keys(&self) -> bool {
            self.roots.is_none()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    checks_of_both_sides!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    checks_of_both_sides!();
}

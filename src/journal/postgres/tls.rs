//! TLS to the database, as the URL asks for it: how the server is verified, and the certificate that this node presents.

use std::{fmt::Display, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        WebPkiSupportedAlgorithms, ring::default_provider, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Misfit;

/// The TLS parameters of a URL, before any file is read.
#[derive(Default)]
pub(super) struct Parameters {
    mode: Mode,
    root_certificates: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// How the server is verified.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    /// Not at all: no TLS.
    #[default]
    Disable,
    /// By its certificate authority.
    VerifyCa,
    /// By its certificate authority and its name.
    VerifyFull,
}

/// A parameter of the URL has a value that is not allowed.
pub(super) struct NotAllowed;

impl Parameters {
    /// Takes a parameter of the URL. Gives whether it is one of TLS.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, NotAllowed> {
        match name {
            "sslmode" => {
                self.mode = match value {
                    "disable" => Mode::Disable,
                    "verify-ca" => Mode::VerifyCa,
                    // A server is never trusted without its certificate.
                    "require" | "verify-full" => Mode::VerifyFull,
                    _ => return Err(NotAllowed),
                };
            }
            "sslrootcert" => self.root_certificates = Some(value.to_owned()),
            "sslcert" => self.certificate = Some(value.to_owned()),
            "sslkey" => self.key = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether a connection has to be encrypted.
    pub(super) const fn mode(&self) -> SslMode {
        match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        }
    }

    /// Reads the files, and gives what makes encrypted connections.
    ///
    /// # Errors
    /// [`Misfit::Tls`] if a file cannot be used, or parameters contradict each other.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, Misfit> {
        let refused = |cause: &str| Err(Misfit::Tls(cause.to_owned()));
        let names_files =
            [&self.root_certificates, &self.certificate, &self.key].iter().any(|one| one.is_some());
        if self.mode == Mode::Disable && names_files {
            return refused(
                "sslrootcert, sslcert and sslkey have no effect without TLS: add sslmode=verify-full",
            );
        }
        let roots = match (&self.root_certificates, self.mode) {
            (Some(path), _) => roots(path)?,
            (None, Mode::VerifyCa) => {
                return refused(
                    "sslmode=verify-ca needs sslrootcert: without a name, a certificate of a public authority proves nothing",
                );
            }
            (None, Mode::VerifyFull | Mode::Disable) => {
                RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| Misfit::Tls(cause.to_string()))?;
        let builder = if self.mode == Mode::VerifyCa {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName::of(roots)))
        } else {
            builder.with_root_certificates(roots)
        };
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let (chain, private) = (certificates(certificate)?, private_key(key)?);
                builder.with_client_auth_cert(chain, private).map_err(unusable(key))?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return refused("sslcert is set without sslkey: set both"),
            (None, Some(_)) => return refused("sslkey is set without sslcert: set both"),
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn unusable<E: Display>(path: &str) -> impl Fn(E) -> Misfit {
    move |cause| Misfit::Tls(format!("{path} cannot be used: {cause}"))
}

/// The certificates in a PEM file, at least one.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Misfit> {
    let read = CertificateDer::pem_file_iter(path).map_err(unusable(path))?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(unusable(path))?;
    if certificates.is_empty() {
        return Err(unusable(path)("expected a PEM file with certificates, found none in it"));
    }
    Ok(certificates)
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, Misfit> {
    PrivateKeyDer::from_pem_file(path).map_err(unusable(path))
}

fn roots(path: &str) -> Result<RootCertStore, Misfit> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(unusable(path))?;
    }
    Ok(roots)
}

/// Verifies that the authority has signed the server's certificate, whatever name is in it.
#[derive(Debug)]
struct AnyName {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyName {
    fn of(roots: RootCertStore) -> Self {
        Self { roots, algorithms: default_provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, end, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, end, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with these parameters.
    fn refusal(pairs: &[(&str, &str)]) -> String {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            assert!(matches!(parameters.take(name, value), Ok(true)), "{name}={value}");
        }
        parameters.connector().err().map(|misfit| misfit.to_string()).unwrap_or_default()
    }

    #[test]
    fn parameters_that_contradict_each_other_are_refused() {
        let check = |pairs: &[(&str, &str)], wanted: &str| {
            let found = refusal(pairs);
            assert!(found.contains(wanted), "{pairs:?}: expected {wanted}, found {found}");
        };
        check(&[("sslmode", "verify-ca")], "sslmode=verify-ca needs sslrootcert");
        check(&[("sslrootcert", "/ca.pem")], "add sslmode=verify-full");
        check(&[("sslmode", "disable"), ("sslcert", "/node.pem")], "add sslmode=verify-full");
        check(&[("sslmode", "require"), ("sslcert", "/node.pem")], "without sslkey");
        check(&[("sslmode", "require"), ("sslkey", "/node.key")], "without sslcert");
        check(&[("sslmode", "require"), ("sslrootcert", "/nowhere.pem")], "/nowhere.pem cannot be used");
        check(
            &[("sslmode", "require"), ("sslcert", "/nowhere.pem"), ("sslkey", "/nowhere.key")],
            "/nowhere.pem cannot be used",
        );
        assert_eq!(refusal(&[("sslmode", "require")]), "");
    }
}

//! Where a PostgreSQL database is, as its URL says: host, user, password, and whether the way there is encrypted. What
//! is asked of it is elsewhere.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Misfit;

/// How long a server may take to be reached, and to let us in.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// After so long without a sign of life the other machine is asked for one,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// so often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// so many times.
const KEEPALIVE_RETRIES: u32 = 3;
/// What was sent and not acknowledged for so long is lost: the connection is given up.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// What PostgreSQL calls a connection of ours, unless the URL has another name.
const APPLICATION_NAME: &str = "tollgate";

/// The address of a database, ready to be connected to. It shows no password, and no user.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: MakeRustlsConnect,
}

/// What a URL says, before anything is read from the disk.
struct Parsed {
    config: Config,
    /// The file with the certificates of those who may vouch for the server.
    root_certificates: Option<String>,
}

impl Address {
    /// Reads a `postgres://` URL, and the certificates that it names.
    ///
    /// `sslmode` is `disable`, which is the default, or `require`; `verify-full` means the same, since a server is never
    /// trusted without its certificate. `sslrootcert` names a PEM file; without it, the public authorities count.
    ///
    /// # Errors
    /// [`Misfit`] where the URL cannot be read, or its certificates cannot.
    pub fn new(url: &str) -> Result<Self, Misfit> {
        let Parsed { config, root_certificates } = parse(url).ok_or(Misfit::Url)?;
        let roots = match root_certificates {
            Some(path) => from_file(&path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| Misfit::Certificates(cause.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
    }

    /// Whether `url` can be read.
    pub(in crate::journal) fn is_readable(url: &str) -> bool {
        parse(url).is_some()
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let numbers = self.config.get_hostaddrs().iter().map(ToString::to_string);
        let mut hosts: Vec<String> = hosts.collect();
        if hosts.is_empty() {
            hosts.extend(numbers);
        }
        let ports: Vec<String> = self.config.get_ports().iter().map(ToString::to_string).collect();
        let port = if ports.is_empty() { "5432".to_owned() } else { ports.join(",") };
        write!(f, "{}:{port}", hosts.join(","))?;
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `sslmode` and `sslrootcert` are read here; the rest is the library's.
fn parse(url: &str) -> Option<Parsed> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut rest = Vec::new();
    let (mut ssl_mode, mut root_certificates) = (SslMode::Disable, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        match key.as_ref() {
            "sslmode" => {
                ssl_mode = match value.as_ref() {
                    "disable" => SslMode::Disable,
                    "require" | "verify-full" => SslMode::Require,
                    _ => return None,
                }
            }
            "sslrootcert" => root_certificates = Some(value.into_owned()),
            _ => rest.push(pair),
        }
    }
    let mut config: Config = format!("{base}?{}", rest.join("&")).parse().ok()?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return None;
    }
    config.ssl_mode(ssl_mode);
    config.keepalives_idle(config.get_keepalives_idle().min(KEEPALIVE_IDLE));
    config.keepalives_interval(config.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL));
    config.keepalives_retries(config.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
    config.tcp_user_timeout(config.get_tcp_user_timeout().copied().unwrap_or(TCP_USER_TIMEOUT));
    config.connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT_WITHIN));
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION_NAME);
    }
    Some(Parsed { config, root_certificates })
}

fn from_file(path: &str) -> Result<RootCertStore, Misfit> {
    let unusable = |cause: String| Misfit::Certificates(format!("{path}: {cause}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|cause| unusable(cause.to_string()))? {
        let certificate = certificate.map_err(|cause| unusable(cause.to_string()))?;
        roots.add(certificate).map_err(|cause| unusable(cause.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in it".into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_where_and_not_who() {
        let check = |url: &str, shown: &str| {
            let address = Address::new(url).unwrap();
            assert_eq!(address.to_string(), shown, "{url}");
            assert_eq!(format!("{address:?}"), shown, "{url}");
        };
        check("postgres://me:hunter2@db/tollgate", "db:5432/tollgate");
        check("postgresql://me:hunter2@db:6543/tollgate?sslmode=require", "db:6543/tollgate");
        check("postgres://me@a:1,b:2/tollgate", "a,b:1,2/tollgate");
        check("postgres://me@%2Fvar%2Frun%2Fpostgresql/tollgate", "/var/run/postgresql:5432/tollgate");
        check("postgres://[::1]:5433/tollgate", "::1:5433/tollgate");
    }

    #[test]
    fn what_cannot_be_connected_to_is_not_readable() {
        for url in [
            "postgres://",
            "postgres:///tollgate",
            "postgres://me@db:port/tollgate",
            "postgres://me@db/tollgate?sslmode=maybe",
            "postgres://me@db/tollgate?colour=red",
        ] {
            assert!(!Address::is_readable(url), "{url}");
        }
    }

    #[test]
    fn the_way_is_encrypted_where_it_is_asked_for() {
        let mode = |url: &str| Address::new(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://db/t"), SslMode::Disable);
        assert_eq!(mode("postgres://db/t?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://db/t?connect_timeout=3&sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://db/t?sslmode=verify-full"), SslMode::Require);
    }

    #[test]
    fn certificates_that_are_not_there_are_named() {
        let refusal = Address::new("postgres://db/t?sslmode=require&sslrootcert=/nowhere.pem").unwrap_err();
        assert!(refusal.to_string().contains("/nowhere.pem"), "{refusal}");
    }
}

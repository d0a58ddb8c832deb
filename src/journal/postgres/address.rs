//! Where a PostgreSQL database is, as its URL says: host, user, password, and whether the way there is encrypted. What
//! is asked of it is elsewhere.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use tokio::net::lookup_host;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Misfit, tls::Parameters};

/// How long one server may take to be reached, to let us in, and to answer our checks, unless the URL has a
/// `connect_timeout`.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// After so long without a sign of life the other machine is asked for one,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// so often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// so many times.
const KEEPALIVE_RETRIES: u32 = 3;
/// What was sent and not acknowledged for so long is lost: the connection is given up.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);
/// Where PostgreSQL listens, unless the URL has another port.
const PORT: u16 = 5432;
/// What PostgreSQL calls a connection of ours, unless the URL has another name.
const APPLICATION_NAME: &str = "tollgate";

/// The address of a database, ready to be connected to: one server or several. It shows no password, and no user.
#[derive(Clone)]
pub struct Address {
    /// Everything but the hosts.
    config: Config,
    hosts: Arc<[NamedHost]>,
    connect_within: Duration,
    tls: MakeRustlsConnect,
}

/// A host as the URL names it.
struct NamedHost {
    /// By name, or the path of a socket's directory; nothing where only a number is given.
    host: Option<Host>,
    number: Option<IpAddr>,
    port: u16,
}

/// One server: a host, and one of the addresses that its name has now.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    name: String,
}

/// What a URL says, before anything is read from the disk.
struct Parsed {
    config: Config,
    hosts: Vec<NamedHost>,
    tls: Parameters,
}

impl Address {
    /// Reads a `postgres://` URL, and the certificates that it names.
    ///
    /// `sslmode` is `disable`, which is the default, `verify-ca` or `verify-full`; `require` means `verify-full`, since a
    /// server is never trusted without its certificate. `sslrootcert` names a PEM file with the authorities; without it
    /// the public ones count. `sslcert` and `sslkey` name the PEM files of a client certificate and its key.
    ///
    /// # Errors
    /// [`Misfit`] if the URL or a file that it names cannot be used.
    pub fn new(url: &str) -> Result<Self, Misfit> {
        let Parsed { config, hosts, tls } = parse(url).ok_or(Misfit::Url)?;
        let connect_within = config.get_connect_timeout().copied().unwrap_or(CONNECT_WITHIN);
        Ok(Self { config, hosts: hosts.into(), connect_within, tls: tls.connector()? })
    }

    /// Whether `url` can be read.
    pub(in crate::journal) fn is_readable(url: &str) -> bool {
        parse(url).is_some()
    }

    /// Every server that the names stand for now. Names are looked up again each time: they may move.
    pub(super) async fn targets(&self) -> Result<Vec<Target>, Misfit> {
        let mut targets = Vec::new();
        let mut unknown = None;
        for NamedHost { host, number, port } in &*self.hosts {
            match (host, number) {
                (Some(Host::Tcp(name)), None) => match lookup_host((name.as_str(), *port)).await {
                    Ok(found) => {
                        targets.extend(found.map(|at| self.target(host.as_ref(), Some(at.ip()), *port)));
                    }
                    Err(cause) => unknown = Some(format!("{name}: {cause}")),
                },
                (host, number) => targets.push(self.target(host.as_ref(), *number, *port)),
            }
        }
        match unknown {
            Some(cause) if targets.is_empty() => Err(Misfit::Unreachable(cause)),
            _ => Ok(targets),
        }
    }

    fn target(&self, host: Option<&Host>, number: Option<IpAddr>, port: u16) -> Target {
        let mut config = self.config.clone();
        let name = match host {
            Some(Host::Tcp(name)) => {
                config.host(name);
                name.clone()
            }
            Some(Host::Unix(path)) => {
                config.host_path(path);
                path.display().to_string()
            }
            None => number.map(|number| number.to_string()).unwrap_or_default(),
        };
        if let Some(number) = number {
            config.hostaddr(number);
        }
        config.port(port);
        let numbered = number.map(|number| format!(" ({number})")).unwrap_or_default();
        Target { config, name: format!("{name}:{port}{numbered}") }
    }

    /// How long one server may take until it is connected to, and checked.
    pub(super) const fn connect_within(&self) -> Duration {
        self.connect_within
    }

    /// A server on another machine to which the connection is not encrypted, by name.
    pub(super) async fn plain_text_to(&self) -> Option<String> {
        if self.config.get_ssl_mode() != SslMode::Disable {
            return None;
        }
        // Names that cannot be looked up are a misfit of the connection that comes next.
        let targets = self.targets().await.ok()?;
        targets.into_iter().find(|target| !target.is_on_this_machine()).map(|target| target.name)
    }

    /// Whether more than one host is named.
    pub(super) fn is_of_several(&self) -> bool {
        self.hosts.len() > 1
    }

    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }
}

impl Target {
    /// What a connection is made with that asks the server to keep `value` under `name` for its session.
    pub(super) fn config_with(&self, name: &str, value: &str) -> Config {
        let mut config = self.config.clone();
        let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config.options(format!("{given}-c {name}={value}"));
        config
    }

    /// Whether packets to it stay on this machine: a socket of its file system, or the loopback interface.
    fn is_on_this_machine(&self) -> bool {
        self.config.get_hostaddrs().iter().all(IpAddr::is_loopback)
    }

    /// Whether it is the same server, as far as its address tells.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, NamedHost { host, number, port }) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match (host, number) {
                (Some(Host::Tcp(name)), _) => write!(f, "{comma}{name}:{port}")?,
                (Some(Host::Unix(path)), _) => write!(f, "{comma}{}:{port}", path.display())?,
                (None, Some(number)) => write!(f, "{comma}{number}:{port}")?,
                (None, None) => {}
            }
        }
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

/// What is about TLS is read here; the rest is the library's.
fn parse(url: &str) -> Option<Parsed> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut rest = Vec::new();
    let mut tls = Parameters::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        match key.as_ref() {
            // The journal is on the primary, whatever else is allowed; a wish for a standby cannot be met.
            "target_session_attrs" if matches!(value.as_ref(), "any" | "read-write" | "primary") => {}
            "target_session_attrs" => return None,
            name if tls.take(name, &value).ok()? => {}
            _ => rest.push(pair),
        }
    }
    let named: Config = format!("{base}?{}", rest.join("&")).parse().ok()?;
    let hosts = hosts_of(&named)?;
    let mut config = without_hosts(&named);
    config.ssl_mode(tls.mode());
    config.keepalives_idle(config.get_keepalives_idle().min(KEEPALIVE_IDLE));
    config.keepalives_interval(config.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL));
    config.keepalives_retries(config.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
    config.tcp_user_timeout(config.get_tcp_user_timeout().copied().unwrap_or(TCP_USER_TIMEOUT));
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION_NAME);
    }
    Some(Parsed { config, hosts, tls })
}

/// The hosts, each with its number and its port; nothing where there is none, or where the lists do not match.
fn hosts_of(config: &Config) -> Option<Vec<NamedHost>> {
    let (names, numbers, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = names.len().max(numbers.len());
    let fits = |other: usize| other == 0 || other == count;
    if count == 0 || !fits(names.len()) || !fits(numbers.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return None;
    }
    let host = |place: usize| NamedHost {
        host: names.get(place).cloned(),
        number: numbers.get(place).copied(),
        port: ports.get(place).or(ports.first()).copied().unwrap_or(PORT),
    };
    Some((0..count).map(host).collect())
}

/// Everything else that a URL says.
fn without_hosts(named: &Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = named.get_user() {
        config.user(user);
    }
    if let Some(password) = named.get_password() {
        config.password(password);
    }
    if let Some(name) = named.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = named.get_options() {
        config.options(options);
    }
    if let Some(name) = named.get_application_name() {
        config.application_name(name);
    }
    if let Some(span) = named.get_connect_timeout() {
        config.connect_timeout(*span);
    }
    if let Some(span) = named.get_tcp_user_timeout() {
        config.tcp_user_timeout(*span);
    }
    if let Some(span) = named.get_keepalives_interval() {
        config.keepalives_interval(span);
    }
    if let Some(retries) = named.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
        .keepalives(named.get_keepalives())
        .keepalives_idle(named.get_keepalives_idle())
        .ssl_negotiation(named.get_ssl_negotiation())
        .channel_binding(named.get_channel_binding());
    config
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
        check("postgres://me@a:1,b:2/tollgate", "a:1,b:2/tollgate");
        check("postgres://me@a,b:2/tollgate?target_session_attrs=read-write", "a:5432,b:2/tollgate");
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
            "postgres://me@db/tollgate?target_session_attrs=read-only",
            "postgres://me@db/tollgate?target_session_attrs=standby",
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

    #[tokio::test]
    async fn plain_text_to_another_machine_is_noticed() {
        let check = async |url: &str, expected: Option<&str>| {
            assert_eq!(Address::new(url).unwrap().plain_text_to().await.as_deref(), expected, "{url}");
        };
        check("postgres://127.0.0.1/t", None).await;
        check("postgres://[::1]/t", None).await;
        check("postgres://localhost/t", None).await;
        check("postgres://me@%2Fvar%2Frun%2Fpostgresql/t", None).await;
        check("postgres://192.0.2.1/t?sslmode=require", None).await;
        check("postgres://192.0.2.1/t", Some("192.0.2.1:5432 (192.0.2.1)")).await;
        check("postgres://127.0.0.1,192.0.2.1:6000/t?sslmode=disable", Some("192.0.2.1:6000 (192.0.2.1)"))
            .await;
        check("postgres://db/t?hostaddr=192.0.2.1", Some("db:5432 (192.0.2.1)")).await;
    }
}

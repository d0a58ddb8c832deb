//! The way to the server over TLS: who vouches for it, and who is let in.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair,
};
use tempfile::TempDir;
use tollgate::journal::{Journal, OpenError, Postgres, postgres::Address};

use crate::{
    journal::{Writer, append_one, is_durable},
    postgres::{Server, Stop},
};

/// A server that takes the role `app` over TLS only: with a password, or, as `by_certificate`, with a certificate that
/// `clients` has signed.
struct Encrypted {
    server: Server,
    /// Where the PEM files are.
    files: TempDir,
    clients: CertifiedIssuer<'static, KeyPair>,
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = named(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

impl Encrypted {
    /// The server's certificate has the name `localhost`.
    async fn start() -> Option<Self> {
        let mut server = Server::start().await?;
        let (servers, clients) = (authority("servers"), authority("clients"));
        let key = KeyPair::generate().unwrap();
        let of_server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        server.write("server.crt", &of_server.signed_by(&key, &servers).unwrap().pem());
        server.write("server.key", &key.serialize_pem());
        server.write("clients.crt", &clients.pem());
        server.write(
            "pg_hba.conf",
            "hostssl all by_certificate 127.0.0.1/32 cert\n\
             hostssl all app 127.0.0.1/32 scram-sha-256\n\
             host all postgres 127.0.0.1/32 trust\n",
        );
        server.configure("ssl = on\nssl_ca_file = 'clients.crt'");
        server.sql("CREATE ROLE app LOGIN PASSWORD 'hunter2'");
        server.sql("CREATE ROLE by_certificate LOGIN");
        server.sql("CREATE DATABASE app OWNER app");
        server.sql("CREATE DATABASE by_certificate OWNER by_certificate");
        server.stop(Stop::Fast).await;
        server.restart().await;
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("servers.pem"), servers.pem()).unwrap();
        fs::write(files.path().join("others.pem"), authority("others").pem()).unwrap();
        Some(Self { server, files, clients })
    }

    /// A client certificate for a role: `NAME.pem` and `NAME.key`.
    fn write_client(&self, name: &str, role: &str, signed_by: &CertifiedIssuer<'static, KeyPair>) {
        let mut parameters = named(role);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, signed_by).unwrap();
        fs::write(self.files.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.files.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn files(&self) -> &Path {
        self.files.path()
    }

    fn url(&self, user: &str, host: &str, rest: &str) -> String {
        let database = user.split(':').next().unwrap();
        format!("postgres://{user}@{host}:{}/{database}{rest}", self.server.port())
    }
}

/// What the server says of the connection to a URL: whether it is encrypted, and the subject of our certificate.
async fn seen(url: &str) -> (bool, Option<String>) {
    let session = Address::new(url).unwrap().connect().await.unwrap();
    let ask = "SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = session.client().query_one(ask, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

async fn writes(url: &str) {
    let journal = Postgres::open(url).await.unwrap_or_else(|refusal| panic!("{url}: {refusal}"));
    assert!(is_durable(append_one(&journal, Writer::new("encrypted").next("[]")).await));
    journal.close().await;
}

async fn refuses(url: &str, wanted: &str) {
    let refusal = Postgres::open(url).await.err().expect("it was opened");
    assert!(matches!(refusal, OpenError::Database { .. }));
    assert!(refusal.to_string().contains(wanted), "expected {wanted}: {refusal}");
    assert!(!format!("{refusal} {refusal:?}").contains("hunter2"), "{refusal}");
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_believes_a_password() {
    let Some(encrypted) = Encrypted::start().await else { return };
    let files = encrypted.files().display().to_string();
    let believed = format!("?sslmode=verify-full&sslrootcert={files}/servers.pem");
    let at = |host: &str, password: &str, rest: &str| encrypted.url(&format!("app:{password}"), host, rest);
    writes(&at("localhost", "hunter2", &believed)).await;
    assert_eq!(seen(&at("localhost", "hunter2", &believed)).await, (true, None));
    refuses(&at("localhost", "hunter2", "?sslmode=require"), "UnknownIssuer").await;
    refuses(&at("127.0.0.1", "hunter2", &believed), "not valid for name").await;
    refuses(&at("localhost", "hunter2", ""), "no encryption").await;
    refuses(&at("localhost", "wrong", &believed), "password authentication failed").await;
}

#[tokio::test]
async fn verify_ca_asks_for_the_authority_and_for_no_name() {
    let Some(encrypted) = Encrypted::start().await else { return };
    let files = encrypted.files().display().to_string();
    let at = |roots: &str| {
        let rest = format!("?sslmode=verify-ca&sslrootcert={files}/{roots}.pem");
        encrypted.url("app:hunter2", "127.0.0.1", &rest)
    };
    writes(&at("servers")).await;
    assert_eq!(seen(&at("servers")).await, (true, None));
    refuses(&at("others"), "UnknownIssuer").await;
    let without = encrypted.url("app:hunter2", "127.0.0.1", "?sslmode=verify-ca");
    refuses(&without, "sslmode=verify-ca needs sslrootcert").await;
}

#[tokio::test]
async fn a_client_certificate_stands_for_a_password() {
    let Some(encrypted) = Encrypted::start().await else { return };
    encrypted.write_client("node", "by_certificate", &encrypted.clients);
    encrypted.write_client("of-another-role", "postgres", &encrypted.clients);
    encrypted.write_client("of-another-authority", "by_certificate", &authority("others"));
    let files = encrypted.files().display().to_string();
    let at = |mode: &str, client: Option<&str>| {
        let client = client.map(|name| format!("&sslcert={files}/{name}.pem&sslkey={files}/{name}.key"));
        let rest = format!("?sslmode={mode}&sslrootcert={files}/servers.pem{}", client.unwrap_or_default());
        encrypted.url("by_certificate", "localhost", &rest)
    };
    for mode in ["verify-full", "verify-ca"] {
        writes(&at(mode, Some("node"))).await;
        let (is_encrypted, subject) = seen(&at(mode, Some("node"))).await;
        assert!(is_encrypted);
        assert_eq!(subject.as_deref(), Some("/CN=by_certificate"));
        refuses(&at(mode, None), "certificate").await;
        refuses(&at(mode, Some("of-another-role")), "certificate authentication failed").await;
        refuses(&at(mode, Some("of-another-authority")), "UnknownCA").await;
    }
}

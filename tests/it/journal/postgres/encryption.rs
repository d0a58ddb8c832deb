//! The way to the server over TLS: who vouches for it, and who is let in.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tollgate::journal::{Journal, OpenError, Postgres, postgres::Address};

use crate::{
    journal::{Writer, append_one, is_durable},
    postgres::{Server, Stop},
};

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_believes_a_password() {
    let Some(mut server) = Server::start().await else { return };
    let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(of_authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let of_server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = of_server.signed_by(&key, &authority).unwrap();
    server.write("server.crt", &certificate.pem());
    server.write("server.key", &key.serialize_pem());
    server.write(
        "pg_hba.conf",
        "hostssl all app 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n",
    );
    server.configure("ssl = on");
    server.sql("CREATE ROLE app LOGIN PASSWORD 'hunter2'");
    server.sql("CREATE DATABASE app OWNER app");
    server.stop(Stop::Fast).await;
    server.restart().await;
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("authority.pem");
    std::fs::write(&roots, authority.pem()).unwrap();

    let port = server.port();
    let at =
        |host: &str, password: &str, rest: &str| format!("postgres://app:{password}@{host}:{port}/app{rest}");
    let believed = format!("?sslmode=verify-full&sslrootcert={}", roots.display());
    let journal = Postgres::open(&at("localhost", "hunter2", &believed)).await.unwrap();
    assert!(is_durable(append_one(&journal, Writer::new("encrypted").next("[]")).await));
    let session = Address::new(&at("localhost", "hunter2", &believed)).unwrap().connect().await.unwrap();
    let is_encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(session.client().query_one(is_encrypted, &[]).await.unwrap().get::<_, bool>(0));
    journal.close().await;

    for (url, wanted) in [
        (at("localhost", "hunter2", "?sslmode=require"), "UnknownIssuer"),
        (at("127.0.0.1", "hunter2", &believed), "not valid for name"),
        (at("localhost", "hunter2", ""), "no encryption"),
        (at("localhost", "wrong", &believed), "password authentication failed"),
    ] {
        let refusal = Postgres::open(&url).await.err().expect("it was opened");
        assert!(matches!(refusal, OpenError::Database { .. }));
        assert!(refusal.to_string().contains(wanted), "expected {wanted}: {refusal}");
        assert!(!format!("{refusal} {refusal:?}").contains("hunter2"), "{refusal}");
    }
}

//! Stripe's API over TLS: the client believes a server whose certificate it has reason to believe, and tells the key to
//! no other. The stub stands behind a door that speaks TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tollgate::clock;
use tollgate_loadtest::stripe_api::StripeApi;

use crate::{process::Site, stripe_api::KEY};

/// An authority, and the stub behind a server that it has certified under this name.
struct Door {
    stub: StripeApi,
    authority: String,
    port: u16,
}

impl Door {
    async fn open(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let stub = StripeApi::start(KEY).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(pass(listener, TlsAcceptor::from(Arc::new(config)), stub.address()));
        Self { stub, authority: authority.pem(), port }
    }

    /// What `tollgate reconcile` says and how it ends, with this authority's certificate or the built-in ones.
    async fn reconcile(&self, authority: Option<&str>) -> (Option<i32>, String) {
        let mut site = Site::new(&[("STRIPE_API_KEY", KEY)]);
        // It reads a journal that is there, and makes none.
        site.start().await.stop().await;
        site.set("STRIPE_API_BASE", &format!("https://localhost:{}", self.port));
        if let Some(pem) = authority {
            std::fs::write(site.path("ca.pem"), pem).unwrap();
            site.set("STRIPE_API_CA", "ca.pem");
        }
        let output = site.run(&["reconcile", "--since", "24h"], &[]).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

/// Opens each connection and passes it on.
async fn pass(listener: TcpListener, acceptor: TlsAcceptor, to: std::net::SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that does not believe us hangs up.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut inner = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut inner).await;
            }
        });
    }
}

#[tokio::test]
async fn stripes_api_is_read_over_tls() {
    let door = Door::open("localhost").await;
    let now = clock::now().as_seconds();
    let mut object = crate::deliveries::event("authorization-created-approved")["data"]["object"].take();
    object["created"] = json!(now);
    object["card"] = json!({"id": "ic_1", "currency": "usd"});
    door.stub.put(object).unwrap();
    let (code, told) = door.reconcile(Some(&door.authority)).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("events recorded: 1"), "{told}");
    assert!(!door.stub.calls().is_empty());
}

#[tokio::test]
async fn the_key_is_told_to_no_server_that_nobody_vouches_for() {
    let (door, stranger) = (Door::open("localhost").await, Door::open("elsewhere.example").await);
    // Not by us, by another authority, under another name.
    for (door, authority) in
        [(&door, None), (&door, Some(&stranger.authority)), (&stranger, Some(&stranger.authority))]
    {
        let (code, told) = door.reconcile(authority.map(String::as_str)).await;
        assert_eq!(code, Some(69), "{told}");
        assert!(told.contains("certificate is not trusted: invalid peer certificate"), "{told}");
        assert!(door.stub.calls().is_empty(), "it was called");
    }
}

#[tokio::test]
async fn a_file_without_certificates_is_told_of_before_anything_else() {
    let door = Door::open("localhost").await;
    for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let (code, told) = door.reconcile(Some(text)).await;
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("STRIPE_API_CA") && told.contains("PEM file"), "{told}");
    }
}

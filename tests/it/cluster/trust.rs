//! What others than nodes can do between the nodes and at their port: nothing that changes an answer, shows a card, keeps
//! memory or keeps members out.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use super::{Cluster, forwarding::ANSWERED};
use crate::{
    deliveries::{Verdict, purchase},
    process::{Site, within},
};

/// Sits between a node and those that forward to it, reads everything, and turns declines into approvals.
struct Interceptor {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    seen: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Interceptor {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, seen) = (watch::Sender::new(None), Arc::default());
        let (to, copy) = (target.clone(), Arc::clone(&seen));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(intercept(stream, to.subscribe(), Arc::clone(&copy)));
            }
        });
        Self { address, target, seen, accepting }
    }

    fn saw(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.windows(text.len()).any(|piece| piece == text.as_bytes())
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn intercept(
    stream: TcpStream,
    mut target: watch::Receiver<Option<SocketAddr>>,
    seen: Arc<Mutex<Vec<u8>>>,
) {
    let Ok(target) = target.wait_for(Option::is_some).await.map(|target| target.unwrap()) else { return };
    let Ok(onward) = TcpStream::connect(target).await else { return };
    let ((from, to), (back_from, back_to)) = (stream.into_split(), onward.into_split());
    tokio::select! {
        () = alter(from, back_to, &seen) => {}
        () = alter(back_from, to, &seen) => {}
    }
}

async fn alter(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: &Mutex<Vec<u8>>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let piece = &mut piece[..read];
        seen.lock().unwrap().extend_from_slice(piece);
        let (word, other) = (b"\"outcome\":\"declined\"", b"\"outcome\":\"approved\"");
        let found = piece.windows(word.len()).position(|bytes| bytes == word);
        if let Some(at) = found {
            piece[at..at + other.len()].copy_from_slice(other);
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_man_in_the_middle_changes_no_answer_and_reads_no_card() {
    let limit = [("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000")];
    let Some(mut cluster) = Cluster::prepare(2, &limit).await else { return };
    let between = Interceptor::open().await;
    cluster.sites[1].set("TOLLGATE_PEER_ADDRESS", &between.address.to_string());
    cluster.start_node(0).await;
    cluster.start_node(1).await;
    between.target.send_replace(cluster.node(1).peers);
    cluster.settled().await;
    let cards: Vec<String> = (0..5).map(|number| cluster.card_of(1, number)).collect();
    for card in &cards {
        let body = purchase(card, &format!("iauth_over_{card}"), 1_001);
        let verdict = Verdict::of(&cluster.node(0).deliver(&body).await);
        assert_eq!((verdict.approved, verdict.reason.as_str()), (false, "spending_limit"), "{card}");
    }
    assert!((cluster.node(0).metric(ANSWERED).await - 5.0).abs() < 0.1, "they were not forwarded");
    assert!(!between.seen.lock().unwrap().is_empty(), "nobody is in the middle");
    assert!(!cards.iter().any(|card| between.saw(card)), "a card was read on its way");
}

/// Whatever is connected to the port and says nothing, nodes find each other; and an operator sees it.
#[tokio::test]
async fn strangers_do_not_keep_nodes_out() {
    let Some(mut cluster) = Cluster::prepare(2, &[]).await else { return };
    cluster.start_node(0).await;
    let port = cluster.node(0).peers.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..1_100 {
        strangers.push(TcpStream::connect(port).await.unwrap());
    }
    let refused = "tollgate_peer_connections_refused_total{cause=\"crowded\"}";
    cluster.node(0).until_metric(refused, |count| count >= 1_000.0).await;
    cluster.start_node(1).await;
    cluster.settled().await;
    let log = "turned away a connection at the port for other nodes";
    cluster.nodes[0].as_mut().unwrap().process.logged(log).await;
    drop(strangers);
}

/// Half of the largest message, a thousand times, would be half a gigabyte.
#[tokio::test]
async fn what_strangers_send_is_not_kept() {
    let Some(mut cluster) = Cluster::prepare(1, &[]).await else { return };
    cluster.start_node(0).await;
    let port = cluster.node(0).peers.unwrap();
    let resident = "process_resident_memory_bytes";
    let before = cluster.node(0).metric(resident).await;
    let half =
        [b"tollgate/1\n".as_slice(), &(500_u32 * 1024).to_be_bytes(), &vec![b'Q'; 250 * 1024]].concat();
    // A client's first words in TLS that go on and on: a record's head, and a message that says it is long.
    let endless = [b"\x16\x03\x01\x40\x00\x01\x00\xff\xff".as_slice(), &vec![0; 250 * 1024]].concat();
    let mut ended = Vec::new();
    for bytes in [half, endless] {
        for _ in 0..200 {
            let mut stranger = TcpStream::connect(port).await.unwrap();
            let bytes = bytes.clone();
            ended.push(tokio::spawn(async move {
                // The node may close before it has all.
                let _ = stranger.write_all(&bytes).await;
                let mut rest = Vec::new();
                let _ = stranger.read_to_end(&mut rest).await;
                assert!(rest.len() < 64, "{rest:?}");
            }));
        }
    }
    for stranger in ended {
        within("a stranger is cut off", stranger).await.unwrap();
    }
    let grown = cluster.node(0).metric(resident).await - before;
    assert!(grown < 16e6, "{grown} bytes of memory for what strangers sent");
}

/// With an authority of the operator's, a row in the member table is not enough: the key has to be signed too.
#[tokio::test]
async fn with_an_authority_of_the_operators_only_nodes_that_it_has_signed_are_let_in() {
    let Some(mut cluster) = Cluster::prepare(3, &[]).await else { return };
    let (ours, another) = (authority(), authority());
    for (n, signer) in [(0, &ours), (1, &ours), (2, &another)] {
        certify(&mut cluster.sites[n], signer);
    }
    for n in 0..3 {
        cluster.start_node(n).await;
    }
    let connections = |seen: &serde_json::Value| -> Vec<Option<i64>> {
        let members = seen["members"].as_array().unwrap();
        members.iter().map(|member| member["connections"].as_i64()).collect()
    };
    let links = [[None, Some(2), Some(0)], [Some(2), None, Some(0)], [Some(0), Some(0), None]];
    for (n, links) in links.into_iter().enumerate() {
        cluster.node(n).eventually("/v1/node", |seen| connections(seen) == links).await;
    }
    let refused = "tollgate_peer_connections_refused_total{cause=\"not_signed\"}";
    cluster.node(0).until_metric(refused, |count| count >= 1.0).await;
    let log = "what answers at a peer's address is not trusted; nothing is forwarded there";
    cluster.nodes[0].as_mut().unwrap().process.logged(log).await;
    // What it was asked it decides, and forwards nothing to a node that it does not trust.
    let card = cluster.card_of(2, 0);
    for n in 0..3 {
        let body = purchase(&card, &format!("iauth_{n}"), 100);
        assert!(Verdict::of(&cluster.node(n).deliver(&body).await).approved);
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Gives a site a key that `signer` has signed. It trusts `signer` alone.
fn certify(site: &mut Site, signer: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(Vec::new()).unwrap().signed_by(&key, signer).unwrap();
    let files = [
        ("TOLLGATE_PEER_CERT", "node.pem", certificate.pem()),
        ("TOLLGATE_PEER_KEY", "node.key", key.serialize_pem()),
        ("TOLLGATE_PEER_CA", "ca.pem", signer.pem()),
    ];
    for (setting, file, text) in files {
        std::fs::write(site.path(file), text).unwrap();
        site.set(setting, file);
    }
}

/// All mistakes are found before anything is started.
#[tokio::test]
async fn certificates_that_do_not_fit_together_are_refused_at_start() {
    let refused = async |change: &dyn Fn(&mut Site), words: &str| {
        let mut site = Site::new(&[
            ("TOLLGATE_JOURNAL", "postgres://127.0.0.1:1/nowhere"),
            ("TOLLGATE_NODE_ID", "node-0"),
            ("TOLLGATE_PEER_LISTEN", "127.0.0.1:0"),
        ]);
        certify(&mut site, &authority());
        change(&mut site);
        let ending = site.refuses_to_start().await;
        assert_eq!(ending.code, Some(78), "{}", ending.log);
        assert!(ending.log.contains(words), "expected {words}: {}", ending.log);
    };
    let write = |site: &mut Site, file: &str, text: String| std::fs::write(site.path(file), text).unwrap();
    refused(&|site| site.unset("TOLLGATE_PEER_CA"), "TOLLGATE_PEER_CA: nodes that an authority").await;
    refused(&|site| write(site, "ca.pem", authority().pem()), "that TOLLGATE_PEER_CA has signed").await;
    let another = || KeyPair::generate().unwrap().serialize_pem();
    refused(&|site| write(site, "node.key", another()), "expected the key of the first certificate").await;
    refused(&|site| write(site, "node.key", "no key".into()), "TOLLGATE_PEER_KEY=node.key: expected").await;
}

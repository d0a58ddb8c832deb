//! The load balancers' files in `deploy/`, in front of real nodes: no request fails while nodes are restarted one after
//! another, and `HAProxy` brings requests to the node that owns their card.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    Cluster,
    load::{Load, SETTINGS},
    name,
};
use crate::{
    client::Client,
    needs::{self, Program},
    process::{Node, within},
};

const SECOND: Duration = Duration::from_secs(1);

/// A balancer that runs, with its file as `deploy/` has it and this machine's ports in place of three machines' names.
struct Balancer {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Balancer {
    /// Nothing where the program is not installed.
    async fn nginx(cluster: &Cluster) -> Option<Self> {
        let nginx = Program { name: "nginx", install: "apt-get install nginx-light" };
        let program = installed(nginx, "nginx")?;
        Some(
            Self::start(cluster, program, "nginx.conf", |file| {
                vec!["-c".into(), file, "-g".into(), "daemon off; master_process off;".into()]
            })
            .await,
        )
    }

    /// The same for `HAProxy`.
    async fn haproxy(cluster: &Cluster) -> Option<Self> {
        let haproxy = Program { name: "HAProxy", install: "apt-get install haproxy" };
        let program = installed(haproxy, "haproxy")?;
        Some(Self::start(cluster, program, "haproxy.cfg", |file| vec!["-db".into(), "-f".into(), file]).await)
    }

    async fn start(
        cluster: &Cluster,
        program: PathBuf,
        file: &str,
        arguments: impl Fn(String) -> Vec<String>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let deployed = fs::read_to_string(format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let here = directory.path().join(file);
        fs::write(&here, localized(&deployed, cluster, address, &directory)).unwrap();
        let process = Command::new(program)
            .args(arguments(here.display().to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let balancer = Self { process, address, _directory: directory };
        within("the balancer listens", async { while Client::try_connect(address).await.is_err() {} }).await;
        balancer
    }
}

/// The file with every name of a machine replaced, each of which must be there.
fn localized(deployed: &str, cluster: &Cluster, address: SocketAddr, directory: &TempDir) -> String {
    let mut file = deployed.to_owned();
    let mut put = |is: &str, becomes: &str| {
        let found = file.contains(is);
        file = file.replace(is, becomes);
        found
    };
    let listens = ["listen 8080", "bind :8080"]
        .map(|listens| put(listens, &format!("{} {address}", listens.split(' ').next().unwrap())));
    assert!(listens.contains(&true), "it listens somewhere");
    put("/tmp/tollgate-nginx", &directory.path().join("nginx").display().to_string());
    for n in 0..3 {
        let (known, node) = (format!("tollgate-{}", n + 1), cluster.node(n));
        put(&format!("{known}:4242 port 9464"), &format!("{} port {}", node.webhook, node.admin.port()));
        put(&format!("{known}:4242"), &node.webhook.to_string());
        put(&known, &name(n));
    }
    assert!((0..3).all(|n| file.contains(&cluster.node(n).webhook.to_string())), "{file}");
    file
}

fn installed(program: Program, file: &str) -> Option<PathBuf> {
    let found = needs::find(file);
    needs::has(program, found.is_some()).then_some(found).flatten()
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Three nodes whose ports stay the same when they are started again.
async fn cluster() -> Option<Cluster> {
    let drain = [("TOLLGATE_DRAIN_DELAY", "1500ms")];
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(drain).collect();
    let mut cluster = Cluster::prepare(3, &settings).await?;
    for n in 0..3 {
        cluster.sites[n].set("TOLLGATE_LISTEN", &free_address().to_string());
        cluster.sites[n].set("TOLLGATE_ADMIN_LISTEN", &free_address().to_string());
        cluster.start_node(n).await;
    }
    cluster.settled().await;
    Some(cluster)
}

/// Restarts every node under load that goes through the balancer alone.
async fn restart_all(mut cluster: Cluster, balancer: &Balancer, load: Load) {
    load.aim(vec![balancer.address]);
    load.go_on(SECOND, 100).await;
    for n in 0..3 {
        let node: Node = cluster.take(n);
        node.process.signal(Signal::TERM);
        let ending = node.process.ended().await;
        assert_eq!(ending.code, Some(0), "{}", ending.log);
        load.go_on(SECOND, 50).await;
        cluster.start_node(n).await;
        cluster.settled().await;
        load.go_on(2 * SECOND, 50).await;
    }
    let account = load.stop().await;
    assert_eq!((account.given_up(), account.turned_away()), (0, 0), "requests failed");
    account.audit(&cluster).await;
}

#[tokio::test]
async fn nobody_notices_a_rolling_restart_behind_nginx() {
    let Some(cluster) = cluster().await else { return };
    let Some(balancer) = Balancer::nginx(&cluster).await else { return };
    let load = Load::start(&cluster);
    restart_all(cluster, &balancer, load).await;
}

#[tokio::test]
async fn haproxy_brings_requests_to_their_owners_and_nobody_notices_a_rolling_restart_behind_it() {
    let Some(cluster) = cluster().await else { return };
    let Some(balancer) = Balancer::haproxy(&cluster).await else { return };
    let load = Load::start(&cluster);
    load.aim(vec![balancer.address]);
    load.go_on(SECOND, 100).await;
    let (asked, forwarded) = ("tollgate_webhook_requests_total", "tollgate_forwards_total");
    let before = [cluster.metric(asked).await, cluster.metric(forwarded).await];
    load.go_on(SECOND, 200).await;
    let after = [cluster.metric(asked).await, cluster.metric(forwarded).await];
    let (asked, forwarded) = (after[0] - before[0], after[1] - before[1]);
    println!("{forwarded} of {asked} requests were forwarded");
    assert!(asked >= 200.0 && forwarded < asked / 20.0, "{forwarded} of {asked} took a second hop");
    restart_all(cluster, &balancer, load).await;
}

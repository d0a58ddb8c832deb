//! A real `PgBouncer` in front of the database, whose role does not wait for its commits by default: it is refused by name,
//! in every mode, and a plain TCP proxy is not.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tollgate::journal::{OpenError, Postgres, postgres::Misfit};
use tollgate_loadtest::postgres::give;

use crate::{
    cluster::proxy::Proxy,
    journal::{Writer, append_one, is_durable},
    needs::{self, Program},
    postgres::{Server, free_port, place},
    process::within,
};

/// A running `PgBouncer`; ended when it is dropped.
struct PgBouncer {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    /// In front of `server`, with more lines of configuration; nothing where it is not installed.
    async fn start(server: &Server, settings: &str) -> Option<Self> {
        let program = needs::find("pgbouncer");
        let wanted = Program { name: "PgBouncer", install: "apt-get install pgbouncer" };
        if !needs::has(wanted, program.is_some()) {
            return None;
        }
        let directory = place();
        let port = free_port();
        let configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\n{settings}\n",
            server.port()
        );
        // Whoever it is, everybody is the one role.
        let configuration = configuration.replace("host=", "user=relaxed host=");
        let path = directory.path().join("pgbouncer.ini");
        fs::write(&path, configuration).unwrap();
        give(&path).unwrap();
        let mut command = Command::new(program.unwrap());
        // As root it does not run at all.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command.arg(path).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
        let bouncer = Self { child: child.spawn().unwrap(), port, _directory: directory };
        within("PgBouncer listens", async {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Some(bouncer)
    }

    fn url(&self) -> String {
        Server::url_at(self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_pooler_is_refused_by_name_in_every_mode() {
    let Some(server) = Server::start().await else { return };
    server.sql("CREATE ROLE relaxed SUPERUSER LOGIN");
    server.sql("ALTER ROLE relaxed SET synchronous_commit = off");
    for settings in [
        // As it is installed, and as it is told to overlook what it does not know.
        "pool_mode = transaction",
        "pool_mode = transaction\nignore_startup_parameters = options",
        "pool_mode = statement\nignore_startup_parameters = options",
        "pool_mode = session\nignore_startup_parameters = options",
    ] {
        let Some(bouncer) = PgBouncer::start(&server, settings).await else { return };
        let refusal =
            Postgres::open(&bouncer.url()).await.err().unwrap_or_else(|| panic!("{settings}: opened"));
        let is_named = matches!(&refusal, OpenError::Database { misfit: Misfit::Pooler, .. });
        assert!(is_named, "{settings}: {refusal}");
        assert!(refusal.to_string().contains("connection pooler"), "{refusal}");
    }
    assert_eq!(server.sql("SELECT to_regclass('tollgate.entry')"), "", "something was written");
}

#[tokio::test]
async fn behind_a_proxy_of_tcp_a_role_that_does_not_wait_for_commits_waits_for_ours() {
    let Some(mut server) = Server::start().await else { return };
    server.sql("CREATE ROLE relaxed SUPERUSER LOGIN");
    server.sql("ALTER ROLE relaxed SET synchronous_commit = off");
    server.used_by("relaxed", "postgres");
    let proxy = Proxy::open().await;
    proxy.lead_to(([127, 0, 0, 1], server.port()).into());
    let url = server.url().replace(&format!(":{}", server.port()), &format!(":{}", proxy.address.port()));
    let journal = Postgres::open(&url).await.unwrap();
    assert!(is_durable(append_one(&journal, Writer::new("waits").next("[]")).await));
    // An option of the operator's own stays beside the mark.
    let own = Postgres::open(&format!("{}?options=-c%20statement_timeout%3D7s", server.url())).await.unwrap();
    assert!(is_durable(append_one(&own, Writer::new("own").next("[]")).await));
}

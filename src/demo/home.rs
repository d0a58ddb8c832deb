//! Where the demo's nodes live: a temporary directory, a policy, a secret for one run. The environment's settings do not
//! count here.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{Failure, page::Page, story};
use crate::{
    cli::{interrupt::Interrupt, serve::one_run_secret},
    clock,
    config::{self, Settings},
    log,
    node::Node,
    stripe::{self, Body, Secret},
};

/// The limits of the story, without a time zone.
const POLICY: &str = include_str!("policy.yaml");

/// Nobody here hangs up after two seconds as Stripe does: on a machine that is busy with something else the story is
/// slow, and not told by the stand-in. Shorter than the client waits.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a demo's nodes are made of.
pub(super) struct Home {
    directory: TempDir,
    pub(super) secret: Secret,
}

impl Home {
    /// A directory with a policy in it.
    pub(super) fn furnished() -> Result<Self, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("tollgate-demo-")
            .tempdir()
            .map_err(Failure::during("make a temporary directory"))?;
        let policy = format!("{POLICY}time_zone: {}\n", calm_time_zone(clock::now().as_seconds()));
        fs::write(policy_path(directory.path()), policy).map_err(Failure::during("write the policy"))?;
        Ok(Self { directory, secret: one_run_secret() })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A node on the journal as it is.
    pub(super) async fn start(&self) -> Result<Node, Failure> {
        Node::start(self.settings()?).await.map_err(Failure::during("start the node"))
    }

    /// A purchase to be pasted: written to a file, and its signature.
    pub(super) fn purchase(&self) -> Result<(PathBuf, String), Failure> {
        let file = self.path().join("purchase.json");
        let body = story::YOURS.event(&story::YOURS.event_id());
        fs::write(&file, &body).map_err(Failure::during("write a purchase"))?;
        Ok((file, stripe::sign(&self.secret, clock::now().as_seconds(), &body)))
    }

    /// Leaves the node to whoever watches, until Ctrl-C.
    pub(super) async fn keep(
        &mut self,
        node: Node,
        interrupt: &mut Interrupt,
        page: &mut Page<'_>,
    ) -> Result<(), Failure> {
        self.directory.disable_cleanup(true);
        log::start(&self.settings()?.log);
        let (event, header) = self.purchase()?;
        let directory = self.directory.path();
        let (webhook, admin) = (format!("http://{}/webhook", node.webhook()), node.admin());
        let event = event.to_string_lossy();
        let program = std::env::current_exe().unwrap_or_else(|_| "tollgate".into());

        page.line("The node runs until Ctrl-C and logs its answers here.")?;
        page.line(&format!("  webhook  {webhook}"))?;
        page.line(&format!("  admin    http://{admin}/v1/cards/{}, and /metrics", story::CARD))?;
        page.line(&format!("  secret   {}", self.secret.reveal()))?;
        page.line(&format!(
            "  policy   {} (edit it, then send a purchase)",
            policy_path(directory).display()
        ))?;
        page.line("\nSend a purchase of 25.00 USD; the signature is valid for an hour:\n")?;
        page.line(&stripe::curl(&webhook, &header, Body::File(&event)))?;
        page.line("\nSee why:\n")?;
        page.line(&format!("curl -s http://{admin}/v1/authorizations/{}", story::YOURS.authorization))?;
        page.line("\nChange the purchase in that file, and sign it again:\n")?;
        page.line(&format!(
            "'{}' sign '{event}' --secret {} --curl {webhook}\n",
            program.display(),
            self.secret.reveal()
        ))?;
        let stop = async {
            interrupt.came().await;
        };
        node.run(stop).await.map_err(Failure::during("go on"))?;
        page.line(&format!("The journal stays in {}.", directory.display()))
    }

    /// The settings by the names that everybody uses for them.
    pub(super) fn pairs(&self) -> [(String, String); 9] {
        let [journal, policy] = ["tollgate.db", "policy.yaml"].map(|name| self.path().join(name));
        let pairs = [
            ("STRIPE_WEBHOOK_SECRET", self.secret.reveal().to_owned()),
            ("TOLLGATE_SIGNATURE_TOLERANCE", "1h".to_owned()),
            ("TOLLGATE_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOLLGATE_JOURNAL", format!("sqlite:{}", journal.display())),
            ("TOLLGATE_POLICY", policy.display().to_string()),
            ("TOLLGATE_DRAIN_DELAY", "0s".to_owned()),
            ("TOLLGATE_LOG", "info,tollgate::http=debug".to_owned()),
            ("TOLLGATE_LOG_FORMAT", "pretty".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value))
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let loaded = config::read(self.pairs(), |path| fs::read_to_string(path)).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::Unexpected(problems.join("; "))
        })?;
        let mut settings = loaded.settings;
        settings.http.answer_within = PATIENCE;
        settings.http.bounds.body_within = PATIENCE;
        Ok(settings)
    }
}

fn policy_path(directory: &Path) -> PathBuf {
    directory.join("policy.yaml")
}

/// UTC, but not in its last hour: the day of the story must not end in the middle of it.
fn calm_time_zone(now_seconds: i64) -> &'static str {
    if now_seconds.rem_euclid(86_400) < 23 * 3_600 { "UTC" } else { "America/New_York" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy_file;

    #[test]
    fn the_policy_has_no_mistake_in_any_time_zone() {
        for now in [0, 23 * 3_600] {
            let text = format!("{POLICY}time_zone: {}\n", calm_time_zone(now));
            assert!(policy_file::read(&text).unwrap().mistakes.is_empty(), "{text}");
        }
    }

    #[test]
    fn the_day_of_the_story_has_an_hour_left() {
        assert_eq!(calm_time_zone(86_400 - 3_601), "UTC");
        assert_eq!(calm_time_zone(86_400 - 3_600), "America/New_York");
        assert_eq!(calm_time_zone(86_400), "UTC");
    }
}

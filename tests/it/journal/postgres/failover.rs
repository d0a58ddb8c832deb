//! A standby takes over: what a connection learns of it, and what the journal makes of it.

use tollgate::journal::Lineage;

use super::session;
use crate::postgres::{Server, Stop};

#[tokio::test]
async fn a_promoted_standby_is_the_same_system_on_the_next_timeline() {
    let Some(mut primary) = Server::start().await else { return };
    primary.sql("CREATE ROLE app LOGIN");
    primary.used_by("app", "postgres");
    let standby = primary.standby("second").await;
    let before = session(&primary).await.lineage();
    assert_eq!(before.system.to_string(), primary.sql("SELECT system_identifier FROM pg_control_system()"));
    assert_eq!(before.timeline, 1);
    primary.stop(Stop::Fast).await;
    standby.promote().await;
    assert_eq!(session(&standby).await.lineage(), Lineage { timeline: 2, ..before });
}

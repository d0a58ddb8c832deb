//! The epoch: which lineage the journal's entries are taken on, and who writes to it, as rows of the database itself. A
//! new lineage is closed at first. It opens when every writer of the one before has given back what it had been
//! told was durable, or is dead.

use tokio_postgres::{Error, Row};

use super::Session;
use crate::journal::Lineage;

/// Begins a lineage, unless it has begun. The writers of the one before are those who were there at its end, by the clock
/// of before; each has from now on the time in which one is taken for dead.
const BEGIN: &str = "
    WITH begun AS (
        UPDATE tollgate.lineage SET system = $1, timeline = $2, began_at = clock_timestamp(), opened_at = NULL,
            nodes = ARRAY(SELECT DISTINCT node FROM tollgate.writer
                WHERE beat_at > (SELECT max(beat_at) FROM tollgate.writer) - interval '3 seconds')
        WHERE system <> $1 OR timeline < $2
        RETURNING nodes
    )
    UPDATE tollgate.writer SET beat_at = clock_timestamp() FROM begun WHERE node = ANY (begun.nodes)";

/// Those who this node knew of, where their rows have not come over.
const ADD_WRITERS: &str = "
    INSERT INTO tollgate.writer (incarnation, node, system, timeline, beat_at)
    SELECT incarnation, node, $3, $4, clock_timestamp() FROM unnest($1::bigint[], $2::text[]) AS w (incarnation, node)
    ON CONFLICT DO NOTHING";
const ADD_NODES: &str = "
    UPDATE tollgate.lineage SET nodes = ARRAY(SELECT DISTINCT unnest(nodes || $1::text[]))
    WHERE opened_at IS NULL AND NOT nodes @> $1::text[]";

/// Says that this writer is there, on which lineage it has nothing more to give back, and how far it is with that.
const BEAT: &str = "
    INSERT INTO tollgate.writer (incarnation, node, system, timeline, beat_at, given_back, tried)
    VALUES ($1, $2, $3, $4, clock_timestamp(), $5, $6)
    ON CONFLICT (incarnation) DO UPDATE SET system = excluded.system, timeline = excluded.timeline,
        beat_at = excluded.beat_at, given_back = excluded.given_back, tried = excluded.tried";

/// What the server is now.
const LOOK: &str = "
    SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off',
           system, timeline, opened_at IS NOT NULL, current_setting('synchronous_standby_names'),
           (SELECT count(*) FROM pg_stat_replication),
           ARRAY(SELECT incarnation || ' ' || node FROM tollgate.writer
               WHERE beat_at > clock_timestamp() - interval '3 seconds' ORDER BY incarnation),
           given_back.sum,
           NOT EXISTS (SELECT FROM tollgate.writer AS w
               WHERE (w.system <> l.system OR w.timeline <> l.timeline)
                   AND w.beat_at > clock_timestamp() - interval '3 seconds'
                   AND w.tried IS DISTINCT FROM given_back.sum)
    FROM tollgate.lineage AS l,
        (SELECT coalesce(sum(given_back), 0)::bigint AS sum FROM tollgate.writer) AS given_back";

/// Opens the lineage for entries, if nothing more is to be given back, and at least half of those who wrote to the one
/// before are there; or, where loss is accepted, whoever is there.
const OPEN: &str = "
    UPDATE tollgate.lineage AS l SET opened_at = clock_timestamp()
    WHERE opened_at IS NULL AND system = $1 AND timeline = $2
        AND NOT EXISTS (SELECT FROM tollgate.writer AS w
            WHERE (w.system <> $1 OR w.timeline <> $2) AND w.beat_at > clock_timestamp() - interval '2 seconds')
        AND ($3 OR cardinality(nodes) <= 2 * (SELECT count(DISTINCT node) FROM tollgate.writer AS w
            WHERE w.system = $1 AND w.timeline = $2 AND w.node = ANY (l.nodes)))";

const LEAVE: &str = "DELETE FROM tollgate.writer WHERE incarnation = $1";
/// Those who have died without leaving.
const FORGET: &str = "
    DELETE FROM tollgate.writer WHERE beat_at < clock_timestamp() - interval '1 minute'
        AND EXISTS (SELECT FROM tollgate.lineage WHERE opened_at < clock_timestamp() - interval '1 minute')";

/// Who writes: a node, and one run of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Writer {
    pub(super) node: String,
    pub(super) incarnation: i64,
}

/// What the server is, as it says itself.
pub(super) struct Look {
    pub(super) takes_entries: bool,
    /// The lineage that has begun.
    pub(super) lineage: Lineage,
    pub(super) is_open: bool,
    /// `synchronous_standby_names`.
    pub(super) synchronous: String,
    /// Standbys that are connected.
    pub(super) standbys: i64,
    /// The writers that are there.
    pub(super) writers: Vec<Writer>,
    /// How many entries all writers together have given back.
    pub(super) given_back: i64,
    /// Whether no writer that is there can give back one more entry: each of them is done, or has tried in vain since any
    /// other was successful.
    pub(super) is_settled: bool,
}

/// How far a writer is with giving back.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// The entries that it has given back.
    pub(super) given_back: i64,
    /// What all together had given back before it tried the rest in vain; nothing where it has not.
    pub(super) tried: Option<i64>,
}

impl Look {
    pub(super) async fn at(session: &Session) -> Result<Self, Error> {
        let row = session.client().query_one(LOOK, &[]).await?;
        Self::of(&row)
    }

    /// How many servers have an entry before it is acknowledged.
    pub(super) fn copies(&self) -> u32 {
        synchronous_standbys(&self.synchronous).saturating_add(1)
    }

    fn of(row: &Row) -> Result<Self, Error> {
        let system: i64 = row.try_get(1)?;
        let timeline: i32 = row.try_get(2)?;
        let writers: Vec<String> = row.try_get(6)?;
        let writer = |text: &String| {
            let (incarnation, node) = text.split_once(' ')?;
            Some(Writer { incarnation: incarnation.parse().ok()?, node: node.to_owned() })
        };
        Ok(Self {
            takes_entries: row.try_get(0)?,
            lineage: Lineage { system: system.cast_unsigned(), timeline: timeline.cast_unsigned() },
            is_open: row.try_get(3)?,
            synchronous: row.try_get(4)?,
            standbys: row.try_get(5)?,
            writers: writers.iter().filter_map(writer).collect(),
            given_back: row.try_get(7)?,
            is_settled: row.try_get(8)?,
        })
    }
}

/// Begins the lineage of this connection, unless it has begun, with these among the writers of `before`.
pub(super) async fn begin(session: &Session, before: Lineage, writers: &[Writer]) -> Result<(), Error> {
    let client = session.client();
    let (system, timeline) = numbers(session.lineage());
    client.execute(BEGIN, &[&system, &timeline]).await?;
    let incarnations: Vec<i64> = writers.iter().map(|writer| writer.incarnation).collect();
    let nodes: Vec<&str> = writers.iter().map(|writer| writer.node.as_str()).collect();
    let (system, timeline) = numbers(before);
    client.execute(ADD_WRITERS, &[&incarnations, &nodes, &system, &timeline]).await?;
    client.execute(ADD_NODES, &[&nodes]).await?;
    Ok(())
}

/// Says that `writer` is there, that it has given back everything up to `restored`, and how far it is with the rest.
pub(super) async fn beat(
    session: &Session,
    writer: &Writer,
    restored: Lineage,
    progress: Progress,
) -> Result<(), Error> {
    let (system, timeline) = numbers(restored);
    let Progress { given_back, tried } = progress;
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&writer.incarnation, &writer.node, &system, &timeline, &given_back, &tried];
    session.client().execute(BEAT, &values).await?;
    Ok(())
}

/// Opens the lineage of this connection, if that may be. `is_loss_accepted`: with any number of writers.
pub(super) async fn open(session: &Session, is_loss_accepted: bool) -> Result<(), Error> {
    let (system, timeline) = numbers(session.lineage());
    session.client().execute(OPEN, &[&system, &timeline, &is_loss_accepted]).await?;
    session.client().execute(FORGET, &[]).await?;
    Ok(())
}

/// This writer is waited for by nobody any more.
pub(super) async fn leave(session: &Session, writer: &Writer) -> Result<(), Error> {
    session.client().execute(LEAVE, &[&writer.incarnation]).await?;
    Ok(())
}

/// How many standbys `synchronous_standby_names` makes a commit wait for: none where it is empty, the number in `FIRST 2
/// (…)`, `ANY 2 (…)` or `2 (…)`, else one.
fn synchronous_standbys(names: &str) -> u32 {
    let mut words = names.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
    let Some(first) = words.next() else { return 0 };
    let is_method = first.eq_ignore_ascii_case("first") || first.eq_ignore_ascii_case("any");
    let number = if is_method { words.next().unwrap_or_default() } else { first };
    // A list of names has no parenthesis.
    let count = names.contains('(').then(|| number.parse().ok()).flatten();
    count.unwrap_or(1)
}

fn numbers(lineage: Lineage) -> (i64, i32) {
    (lineage.system.cast_signed(), lineage.timeline.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::synchronous_standbys;

    #[test]
    fn as_many_standbys_are_waited_for_as_the_setting_says() {
        let check = |names: &str, standbys: u32| assert_eq!(synchronous_standbys(names), standbys, "{names}");
        check("", 0);
        check("  ", 0);
        check("*", 1);
        check("a", 1);
        check("a, b", 1);
        check("FIRST 2 (a, b, c)", 2);
        check("any 3(a,b,c,d)", 3);
        check("2 (a, b)", 2);
        check("ANY 1 (*)", 1);
    }
}

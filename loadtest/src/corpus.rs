//! Questions that are written and signed ahead, for clients that only send: wrk, and the comparison of servers. Who is
//! asked, and how fast, is elsewhere.

use std::io::{self, Write};

use crate::{
    events::{Subject, Writer},
    population::Population,
    scenario::Scenario,
    signature::Signer,
    story::{Opening, Story},
};

/// A question as it goes over the wire, without what only HTTP needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The value of `Stripe-Signature`.
    pub signature: String,
    /// The body, on one line.
    pub body: Vec<u8>,
}

/// The first questions of so many authorizations of a scenario, all different, signed at `now`. `run` sets their ids apart
/// from those of other runs.
#[must_use]
pub fn questions(scenario: &Scenario, signer: &Signer, run: u64, count: usize, now: i64) -> Vec<Signed> {
    let writer = Writer::new(run);
    let population = Population::new(scenario.cards, &scenario.questions);
    let stories = (1..).map(|number| Story::draw(number, scenario, &population, now));
    let asked = stories.filter(|story| story.opening == Opening::Asked).take(count);
    let written = asked.map(|story| {
        let authorization = &story.authorization;
        let subject = Subject::Request(authorization.purchase.amount);
        let body = writer.event(authorization.number, subject, authorization, now);
        Signed { signature: signer.header(now, &body), body }
    });
    written.collect()
}

/// Writes questions as two lines each: the signature, and the body.
///
/// # Errors
/// They cannot be written.
pub fn write(questions: &[Signed], out: &mut impl Write) -> io::Result<()> {
    for Signed { signature, body } in questions {
        writeln!(out, "{signature}")?;
        out.write_all(body)?;
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_corpus_has_two_lines_for_each_question_and_no_question_twice() {
        let scenario = Scenario::load("steady").unwrap();
        let signer = Signer::new("whsec_of_a_corpus");
        let questions = questions(&scenario, &signer, 7, 300, 1_790_000_000);
        let mut out = Vec::new();
        write(&questions, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 600);
        let mut ids = BTreeSet::new();
        for pair in lines.chunks(2) {
            assert_eq!(pair[0], signer.header(1_790_000_000, pair[1].as_bytes()));
            let event: serde_json::Value = serde_json::from_str(pair[1]).unwrap();
            assert_eq!(event["type"], "issuing_authorization.request");
            ids.insert((event["id"].to_string(), event["data"]["object"]["id"].to_string()));
        }
        assert_eq!(ids.len(), 300);
    }
}

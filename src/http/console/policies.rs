//! Policies: which are in force, since when and by which node, and what each changed.

use maud::{Markup, html};

use super::parts::{ago, api, policy_link, time};
use crate::{
    domain::Timestamp,
    http::bodies::{InForceBody, PoliciesBody, PolicyBody, PolicyVersionBody},
};

/// The list.
pub(super) fn page(body: &PoliciesBody, in_force: &InForceBody, now: Timestamp) -> Markup {
    html! {
        h1 { "Policies" }
        section.card {
            p { "In force on this node: " (policy_link(&in_force.version)) }
            p.small.soft {
                "Before a change, replay it on the journal: " code { "tollgate replay --policy new.yaml --since 30d --html report.html" }
                ". It shows which answers would change, and why."
            }
            (api("/v1/policy"))
        }
        section {
            h2 { "History" }
            div.wide { table {
                thead { tr { th { "when" } th { "age" } th { "version" } th { "node" } th { "read from" } th { "who and why" } } }
                tbody { @for policy in &body.policies {
                    tr {
                        td { (time(policy.at)) } td { (ago(policy.at, now)) }
                        td { (policy_link(&policy.version)) @if policy.in_force { " " span.badge.good { "in force" } } }
                        td { (policy.node) } td { code { (policy.origin) } } td { (who(policy)) }
                    }
                } }
            } }
            (api("/v1/policies"))
        }
    }
}

/// One version.
pub(super) fn version(body: &PolicyBody, now: Timestamp) -> Markup {
    html! {
        h1 { "Policy " span.id { (body.version) } " " @if body.history.iter().any(|one| one.in_force) { span.badge.good { "in force" } } }
        section {
            ul { @for one in &body.history {
                li { (time(one.at)) ", " (ago(one.at, now)) ": node " b { (one.node) } ", read from " code { (one.origin) } " " (who(one)) }
            } }
        }
        @if let (Some(before), Some(diff)) = (&body.before, &body.diff) {
            section {
                h2 { "Changes from " (policy_link(before)) }
                pre { @for line in diff.lines() { span class=[class_of(line)] { (line) } "\n" } }
            }
        }
        section {
            h2 { "Text" }
            pre { (body.text) }
            (api(&format!("/v1/policies/{}", body.version)))
        }
    }
}

/// What was done, and by whom.
fn who(policy: &PolicyVersionBody) -> Markup {
    html! {
        @if let (Some(by), Some(reason)) = (&policy.by, &policy.reason) { (policy.step) " by " b { (by) } ": " (reason) }
        @else if policy.step == "followed" { "follows the journal" }
    }
}

fn class_of(line: &str) -> Option<&'static str> {
    match line.as_bytes().first() {
        Some(b'+') => Some("add"),
        Some(b'-') => Some("cut"),
        Some(b'@') => Some("place"),
        Some(_) | None => None,
    }
}

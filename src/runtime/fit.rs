//! Whether a plan can go on from a checkpoint: its nodes are known by their names.

use crate::error::{Error, Result};
use crate::operators::order::OrderPlan;
use crate::operators::{BuildContext, Built};
use crate::sources::shape::ShapePlan;
use crate::spec::{Plan, PlannedNode, Role};
use crate::state::{Manifest, NodeState};

/// What the name of a source ends in under which it keeps the rows that it puts in order,
pub const ORDER: &str = ".order";
/// and the trades that may be corrected.
pub const CORRECTIONS: &str = ".corrections";

/// What of `manifest` the plan goes on with: all, or it is refused. Of the nodes in `forget` what does not fit is left
/// behind. Nodes that are new begin with nothing.
pub fn fit(mut manifest: Manifest, plan: &Plan, forget: &[String]) -> Result<Manifest> {
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut note = |name: &str, fits: Result<(), String>| match fits {
        Ok(()) => true,
        Err(_) if forget.iter().any(|forgotten| forgotten == name) => false,
        Err(reason) => {
            wrong.push((name.to_string(), reason));
            true
        }
    };
    let source_fits = |name: &str, what: &str| match node(plan, name) {
        None => Err("is not in the file any more".to_string()),
        Some(PlannedNode { role: Role::Source(source), .. }) if source.what() == what => Ok(()),
        Some(PlannedNode { role: Role::Source(source), .. }) => {
            Err(format!("read {what}, and reads {} now", source.what()))
        }
        Some(other) => Err(format!("was a source, and is a {} now", other.role.name())),
    };
    let sink_fits = |name: &str, kind: &str| match node(plan, name) {
        None => Err("is not in the file any more".to_string()),
        Some(node) if matches!(node.role, Role::Sink(_)) && node.kind == kind => Ok(()),
        Some(node) => Err(format!("was a {kind} sink, and is a {} {} now", node.kind, node.role.name())),
    };
    let sources = manifest.sources.iter();
    let gone: Vec<String> =
        sources.filter(|(name, at)| !note(name, source_fits(name, &at.what))).map(|(name, _)| name.clone()).collect();
    let changed = manifest.sinks.iter();
    let changed: Vec<String> =
        changed.filter(|(name, kind)| !note(name, sink_fits(name, kind))).map(|(name, _)| name.clone()).collect();
    manifest.sources.retain(|name, _| !gone.contains(name));
    manifest.sinks.retain(|name, _| !changed.contains(name));
    let told = |name: &String| manifest.sources.contains_key(name) || manifest.sinks.contains_key(name);
    manifest.nodes.retain(|name, state| {
        let owner = behind_source(name).map_or(name.as_str(), |(source, _)| source).to_string();
        let left = gone.contains(&owner) || changed.contains(&owner);
        !left && (told(name) || note(&owner, state_fits(plan, name, state)))
    });
    if wrong.is_empty() {
        return Ok(manifest);
    }
    let Manifest { job, number, .. } = &manifest;
    let reasons: Vec<String> = wrong.iter().map(|(name, reason)| format!("`{name}` {reason}")).collect();
    let mut flags: Vec<String> = wrong.iter().map(|(name, _)| format!("--forget {name}")).collect();
    flags.dedup();
    Err(Error::Unsafe(format!(
        "job `{job}` cannot go on from checkpoint {number}: {}; to leave behind what is kept of it: {}",
        reasons.join("; "),
        flags.join(" ")
    )))
}

fn node<'p>(plan: &'p Plan, name: &str) -> Option<&'p PlannedNode> {
    plan.nodes.iter().find(|node| node.name == name)
}

/// The source behind which state of this name is kept, and which.
fn behind_source(name: &str) -> Option<(&str, &'static str)> {
    [ORDER, CORRECTIONS].into_iter().find_map(|what| Some((name.strip_suffix(what)?, what)))
}

/// Whether the plan has a use for the state that is kept under `name`.
fn state_fits(plan: &Plan, name: &str, state: &NodeState) -> Result<(), String> {
    let gone = || Err("has state there and is not in the file any more".to_string());
    let source = behind_source(name).and_then(|(source, what)| Some((node(plan, source)?, what)));
    let now = match (node(plan, name), source) {
        (Some(node), _) => match &node.role {
            Role::Operator(operator) => match operator.build(&BuildContext::default()) {
                Err(error) => return Err(error.to_string()),
                Ok(Built::Keyed(operator)) => operator.state(),
                Ok(Built::Stateless(_)) => return Err(format!("has state there and is a {} without now", node.kind)),
            },
            // Where these stand is not known by what they compute.
            Role::Source(_) | Role::Sink(_) => return Ok(()),
        },
        (None, Some((PlannedNode { role: Role::Source(source), .. }, what))) => {
            let ShapePlan { read, order, corrections, .. } = source.shape().as_ref();
            match (what == CORRECTIONS, order, corrections) {
                (true, _, Some(corrections)) => corrections.state(read),
                (true, _, None) => return Err("held trades to be corrected, and does so no more".to_string()),
                (false, Some(_), _) => OrderPlan::state(read),
                (false, None, _) => {
                    return Err("held rows back to put them in order, and does so no more".to_string());
                }
            }
        }
        _ => return gone(),
    };
    match (now.name.as_str(), now.version) == (&state.kind, state.version) {
        true => Ok(()),
        false => Err(format!("was `{}` there and is `{}` now", state.kind, now.name)),
    }
}

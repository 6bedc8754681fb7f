//! Whether a plan can go on from a checkpoint: its nodes are known by their names.

use crate::error::{Error, Result};
use crate::operators::order::OrderPlan;
use crate::operators::{BuildContext, Built};
use crate::sources::shape::ShapePlan;
use crate::spec::{Plan, PlannedNode, Role};
use crate::state::{Manifest, NodeState, Setting};

/// What the name of a source ends in under which it keeps the rows that it puts in order,
pub const ORDER: &str = "order";
/// and the trades that may be corrected.
pub const CORRECTIONS: &str = "corrections";

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
        let owner = owner(name).0.to_string();
        let left = gone.contains(&owner) || changed.contains(&owner);
        !left && (told(name) || note(&owner, state_fits(plan, name, state)))
    });
    manifest.in_force.retain(|name, setting| note(name, setting_fits(plan, name, setting)));
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

/// The node that keeps state under `name`, and which part of it does: names of nodes have no point.
fn owner(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

/// Whether what was set of a node can be set of it now.
fn setting_fits(plan: &Plan, name: &str, setting: &Setting) -> Result<(), String> {
    let Some(settable) = node(plan, name).and_then(PlannedNode::settable) else {
        return Err("had something set there that it does not have now".to_string());
    };
    let unfit = |wrong| format!("had {} set there that do not fit any more{wrong}", settable.name());
    settable.check(&setting.text).map_err(unfit)
}

/// Whether the plan has a use for the state that is kept under `name`.
fn state_fits(plan: &Plan, name: &str, state: &NodeState) -> Result<(), String> {
    let (owner, part) = owner(name);
    let Some(node) = node(plan, owner) else {
        return Err("has state there and is not in the file any more".to_string());
    };
    let now = match &node.role {
        Role::Operator(operator) => {
            match operator.build(&BuildContext::default()).map_err(|error| error.to_string())? {
                Built::Keyed(operator) if part.is_empty() => operator.state(),
                Built::Staged(stages) => {
                    match stages.into_iter().find(|stage| stage.name == part).map(|stage| stage.built) {
                        Some(Built::Keyed(operator)) => operator.state(),
                        _ => return Err(format!("has state there that this {} does not keep", node.kind)),
                    }
                }
                _ => return Err(format!("has state there and is a {} without now", node.kind)),
            }
        }
        Role::Source(source) if part == ORDER => {
            let ShapePlan { read, order, .. } = source.shape().as_ref();
            if order.is_none() {
                return Err("held rows back to put them in order, and does so no more".to_string());
            }
            OrderPlan::state(read)
        }
        Role::Source(source) if part == CORRECTIONS => {
            let ShapePlan { read, corrections, .. } = source.shape().as_ref();
            let Some(corrections) = corrections else {
                return Err("held trades to be corrected, and does so no more".to_string());
            };
            corrections.state(read)
        }
        // Where these stand is not known by what they compute.
        Role::Source(_) | Role::Sink(_) => return Ok(()),
    };
    match (now.name.as_str(), now.version) == (&state.kind, state.version) {
        true => Ok(()),
        false => Err(format!("was `{}` there and is `{}` now", state.kind, now.name)),
    }
}

//! `signing-key-unusable`, `key-id-format-mismatch` and `issuer-audience-mismatch`: verifiers that
//! refuse every token, their own included, and issuers that no verifier accepts (A3, A4 and A5 in
//! `deploy/modes.md`). They read the same whole columns and rows of the matrix.

use std::collections::{BTreeMap, BTreeSet};

use super::super::facts::{Facts, ObservationId, backends_of, odd_ones};
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::keys;
use super::super::wording::{describe, list, verb};
use crate::model::{
    BackendName, Cell, Confidence, Evidence, Family, FindingName, Flow, Issuer, KeyForm, Reason,
    Refusal, Route, Step,
};

use FindingName::{
    DatabaseUnavailable, IssuerAudienceMismatch, KeyIdFormatMismatch, ServerErrors,
    SigningKeyUnusable, TokenKeyMismatch,
};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let mut all = columns(facts);
    all.extend(cannot_sign(facts));
    all.extend(rows(facts));
    all.extend(other_service(facts));
    all.extend(other_form(facts));
    all
}

/// Harbor's core cannot sign: 500 with an empty body and its `X-Request-Id`
/// (captures/harbor-2.15.2/73-key-unreadable.http). Of others such an answer says nothing.
pub(super) fn token_without_key(flow: &Flow) -> bool {
    let Some((Step::Token, failure)) = flow.failure() else { return false };
    failure.reason == Reason::ServerError
        && flow
            .answer(Step::Token)
            .is_some_and(|answer| answer.body_bytes == 0 && answer.request_id)
}

/// A node whose key is missing or unreadable issues no token and refuses every one.
fn cannot_sign(facts: &Facts<'_>) -> Option<Hypothesis> {
    let broken =
        facts.flows_that(|flow, _, _| token_without_key(flow) && flow.route.backend().is_some());
    let names = backends_of(broken.iter().map(|(_, flow)| *flow));
    if names.is_empty() {
        return None;
    }
    let here = |cell: &Cell| cell.verifier.backend().is_some_and(|name| names.contains(name));
    let refused: Vec<ObservationId> = facts
        .refused_pairs()
        .into_iter()
        .filter(|(_, cell, _)| here(cell))
        .map(|(id, ..)| id)
        .collect();
    let proved = !refused.is_empty() || facts.round.backends.len() == names.len();
    let summary = format!(
        "{} cannot sign tokens and {} every token: the private key is missing or unreadable.",
        list(&names),
        verb(names.len(), "refuses", "refuse")
    );
    let lines = broken.iter().map(|(_, flow)| {
        format!("{}: the token endpoint answers 500 with an empty body", flow.route)
    });
    let hypothesis = Hypothesis::new(SigningKeyUnusable, names.clone(), summary)
        .evidence(lines)
        .evidence([format!("{} fresh tokens of other nodes were refused there", refused.len())])
        .proved_if(proved, &[DatabaseUnavailable, ServerErrors])
        .explains(broken.iter().map(|(id, _)| *id))
        .explains(refused);
    Some(hypothesis)
}

/// A verifier that refuses every token, its own included.
struct Column<'a> {
    name: BackendName,
    cells: Vec<(ObservationId, &'a Cell)>,
    cause: FindingName,
}

fn columns(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let mut found: Vec<Column<'_>> = Vec::new();
    let (refused, accepting) = (facts.refused_pairs(), accepting(facts));
    for backend in facts.round.backends.iter().filter(|it| !accepting.contains(&it.name)) {
        found.extend(column(facts, &refused, &backend.name, backend.family));
    }
    let sound = !accepting.is_empty();
    // The same everywhere: the issuer, or what is configured for all, is wrong.
    let everywhere = !sound && found.len() > 1 && found.len() == reachable(facts);
    // Where samples were accepted, what all refused in a few pairs was refused by luck.
    let lucky = |run: &crate::model::BalancerRun| run.pairs.trials > run.pairs.events;
    if everywhere && facts.sampling().is_some_and(lucky) {
        return Vec::new();
    }
    let mut by_cause: BTreeMap<FindingName, Vec<Column<'_>>> = BTreeMap::new();
    for column in found {
        by_cause.entry(column.cause).or_default().push(column);
    }
    let all = by_cause.into_iter();
    all.map(|(cause, columns)| refuse_all(facts, cause, &columns, everywhere)).collect()
}

/// The backends that accept a token that a backend or a token server issued.
fn accepting<'a>(facts: &Facts<'a>) -> BTreeSet<&'a BackendName> {
    let accepts = |cell: &&Cell| {
        cell.accepted() == Some(true) && cell.issuer != Issuer::Route(Route::Balancer)
    };
    let cells = facts.round.matrix.cells.iter().filter(accepts);
    cells.filter_map(|cell| cell.verifier.backend()).collect()
}

fn reachable(facts: &Facts<'_>) -> usize {
    let answers =
        |flow: &&Flow| flow.route.backend().is_some() && flow.challenge.measured().is_some();
    facts.round.flows.iter().filter(answers).count()
}

fn column<'a>(
    facts: &Facts<'a>,
    refused: &[(ObservationId, &'a Cell, &'a Refusal)],
    name: &BackendName,
    family: Family,
) -> Option<Column<'a>> {
    let refused: Vec<(ObservationId, &Cell)> = refused
        .iter()
        .filter(|(_, cell, _)| {
            cell.verifier.backend() == Some(name) && cell.issuer != Issuer::Route(Route::Balancer)
        })
        .map(|(id, cell, _)| (*id, *cell))
        .collect();
    if refused.is_empty() {
        return None;
    }
    let healed = refused
        .iter()
        .any(|(_, cell)| cell.refusal().is_some_and(|refusal| refusal.healed_after.is_some()));
    // Without its own token among them, a column may be the other side of a key mismatch.
    let own = refused
        .iter()
        .any(|(_, cell)| cell.issuer.backend() == Some(name) || cell.issuer.backend().is_none());
    let other_audience = services(facts).is_some_and(|(_, odd)| odd.contains(name));
    let luck = keys::hides_replicas(facts, name);
    if healed || !own || luck || other_audience {
        return None;
    }
    let cause = cause_of(family, &refused);
    Some(Column { name: name.clone(), cells: refused, cause })
}

fn cause_of(family: Family, cells: &[(ObservationId, &Cell)]) -> FindingName {
    let shown = |form: KeyForm| {
        cells.iter().all(|(_, cell)| cell.key.as_ref().is_some_and(|key| key.form() == form))
    };
    match family {
        Family::Distribution3 if shown(KeyForm::Libtrust) => KeyIdFormatMismatch,
        Family::Distribution2 if shown(KeyForm::Thumbprint) => KeyIdFormatMismatch,
        _ => SigningKeyUnusable,
    }
}

fn refuse_all(
    facts: &Facts<'_>,
    cause: FindingName,
    columns: &[Column<'_>],
    everywhere: bool,
) -> Hypothesis {
    let names: Vec<BackendName> = columns.iter().map(|column| column.name.clone()).collect();
    let cells: Vec<&(ObservationId, &Cell)> = columns.iter().flat_map(|c| &c.cells).collect();
    let elsewhere = facts.round.matrix.cells.iter().any(|cell| {
        cell.accepted() == Some(true) && cells.iter().any(|(_, at)| at.issuer == cell.issuer)
    });
    let by_form = cause == KeyIdFormatMismatch;
    let (name, backends, summary, others): (_, _, _, &[FindingName]) = if by_form {
        let summary = format!(
            "{} {} up keys by a different kind of key id than the tokens carry.",
            list(&names),
            verb(names.len(), "looks", "look")
        );
        let at = if everywhere { Vec::new() } else { names.clone() };
        (cause, at, summary, &[SigningKeyUnusable])
    } else if everywhere {
        let summary = "Every node refuses every token: the realm leads to a foreign token server, \
                       or the issuer or the audience differs."
            .to_owned();
        (IssuerAudienceMismatch, Vec::new(), summary, &[TokenKeyMismatch, SigningKeyUnusable])
    } else {
        let summary = format!(
            "{} {} every token, {} own included.",
            list(&names),
            verb(names.len(), "refuses", "refuse"),
            verb(names.len(), "its", "their")
        );
        (cause, names.clone(), summary, &[TokenKeyMismatch, IssuerAudienceMismatch])
    };
    let refused = Evidence::from(format!(
        "{} refused {} of {} fresh tokens, {} own included, and still refused them after 5 s",
        list(&names),
        cells.len(),
        cells.len(),
        verb(names.len(), "its", "their")
    ))
    .counting("refused_pairs", cells.len());
    let accepted = "other nodes accept the same issuers' tokens".to_owned();
    Hypothesis::new(name, backends, summary)
        .hits(Hits::Tokens)
        .evidence([refused])
        .evidence(cells.iter().take(3).filter_map(|(_, cell)| describe(cell)))
        .evidence(elsewhere.then_some(accepted))
        .proved_if(by_form && elsewhere, others)
        .explains(cells.iter().map(|(id, _)| *id))
        .explains(flows_at(facts, &names))
}

/// The flows of these backends that failed with a good token in hand.
fn flows_at(facts: &Facts<'_>, names: &[BackendName]) -> Vec<ObservationId> {
    let here = facts.flows_that(|flow, step, reason| {
        let refused = matches!(reason, Reason::Unauthorized | Reason::Forbidden);
        refused
            && step >= Step::Access
            && flow.route.backend().is_some_and(|name| names.contains(name))
    });
    here.into_iter().map(|(id, _)| id).collect()
}

/// Issuers whose tokens every node refuses, themselves included.
fn rows(facts: &Facts<'_>) -> Option<Hypothesis> {
    let refused = facts.refused_pairs();
    let of = |name: &BackendName| {
        let row =
            |cell: &&Cell| cell.issuer.backend() == Some(name) && cell.verifier.backend().is_some();
        facts.round.matrix.cells.iter().filter(row).collect::<Vec<_>>()
    };
    let refused_by_all = |name: &BackendName| {
        let row = of(name);
        row.iter().any(|cell| cell.accepted() == Some(false))
            && row.iter().all(|cell| cell.accepted() != Some(true))
            && row.iter().all(|cell| cell.refusal().is_none_or(|r| r.healed_after.is_none()))
            && row
                .iter()
                .any(|cell| cell.verifier.backend() == Some(name) && cell.refusal().is_some())
            && !keys::hides_replicas(facts, name)
    };
    let backends = facts.round.backends.iter().map(|backend| &backend.name);
    let names: Vec<BackendName> = backends.filter(|name| refused_by_all(name)).cloned().collect();
    // Where verifiers refuse every token, the verifiers are at fault.
    let some_accept = facts
        .round
        .matrix
        .cells
        .iter()
        .any(|cell| cell.accepted() == Some(true) && cell.verifier.backend().is_some());
    if names.is_empty() || !some_accept {
        return None;
    }
    // What the balancer makes of these tokens follows from what the nodes do.
    let own = |cell: &Cell| {
        cell.verifier.backend().is_some()
            && cell.issuer.backend().is_some_and(|name| names.contains(name))
    };
    let cells: Vec<_> = refused.iter().filter(|(_, cell, _)| own(cell)).collect();
    let forms = other_forms(facts, &names);
    let summary = format!("No node accepts the tokens that {} issues.", list(&names));
    let (name, others): (_, &[FindingName]) = if forms {
        (KeyIdFormatMismatch, &[IssuerAudienceMismatch, SigningKeyUnusable])
    } else {
        (IssuerAudienceMismatch, &[SigningKeyUnusable])
    };
    let line = format!(
        "every node refuses the tokens of {}, also the node that issued them",
        list(&names)
    );
    let hypothesis = Hypothesis::new(name, names.clone(), summary)
        .hits(Hits::Tokens)
        .suspected(others)
        .evidence([line])
        .evidence(cells.iter().take(3).filter_map(|(_, cell, _)| describe(cell)))
        .explains(cells.iter().map(|(id, ..)| *id))
        .explains(flows_at(facts, &names));
    Some(hypothesis)
}

/// Whether the tokens of these backends carry key ids of another form than all others.
fn other_forms(facts: &Facts<'_>, names: &[BackendName]) -> bool {
    let form = |name: &BackendName| facts.key_of(name).map(crate::model::KeyId::form);
    let (inside, outside): (Vec<_>, Vec<_>) = facts
        .round
        .backends
        .iter()
        .map(|backend| &backend.name)
        .filter(|name| form(name).is_some())
        .partition(|name| names.contains(name));
    !inside.is_empty()
        && !outside.is_empty()
        && inside.iter().all(|name| outside.iter().all(|other| form(name) != form(other)))
}

/// Pairs of nodes whose tokens carry key ids of different forms, which cannot be compared.
fn other_form(facts: &Facts<'_>) -> Option<Hypothesis> {
    let mut groups: BTreeMap<String, Vec<BackendName>> = BTreeMap::new();
    for backend in &facts.round.backends {
        if let Some(key) = facts.key_of(&backend.name) {
            groups.entry(format!("{:?}", key.form())).or_default().push(backend.name.clone());
        }
    }
    let found: Vec<(ObservationId, &Cell)> = facts
        .refused_pairs()
        .into_iter()
        .filter(|(_, cell, refusal)| {
            let own = cell.verifier.backend().and_then(|name| facts.verifies(name));
            let differ =
                cell.key.as_ref().zip(own).is_some_and(|(shown, own)| shown.form() != own.form());
            differ && cell.issuer.backend().is_some() && refusal.healed_after.is_none()
        })
        .map(|(id, cell, _)| (id, cell))
        .collect();
    if groups.len() < 2 || found.is_empty() {
        return None;
    }
    let total = groups.values().map(Vec::len).sum();
    let (odd, _) = odd_ones(&groups, total);
    let lines = groups.iter().map(|(form, names)| {
        format!("key ids of the form {}: {}", form.to_lowercase(), list(names))
    });
    let summary = format!(
        "{} {} key ids in a form that the other nodes do not look up.",
        list(&odd),
        verb(odd.len(), "writes", "write")
    );
    let hypothesis = Hypothesis::new(KeyIdFormatMismatch, odd.clone(), summary)
        .hits(Hits::Tokens)
        .suspected(&[TokenKeyMismatch])
        .evidence(lines)
        .evidence(found.iter().take(3).filter_map(|(_, cell)| describe(cell)))
        .explains(found.iter().map(|(id, _)| *id));
    Some(hypothesis)
}

/// Backends by the service that their challenge names.
type Services = BTreeMap<String, Vec<BackendName>>;

/// The services that challenges name, by backend, and the odd ones; none if all name the same.
fn services(facts: &Facts<'_>) -> Option<(Services, Vec<BackendName>)> {
    let mut services = Services::new();
    for backend in &facts.round.backends {
        let flow = facts.round.backend_flow(&backend.name);
        let challenge = flow.and_then(|flow| flow.challenge.measured());
        if let Some(service) = challenge.and_then(|challenge| challenge.service.clone()) {
            services.entry(service).or_default().push(backend.name.clone());
        }
    }
    let (odd, _) = odd_ones(&services, services.values().map(Vec::len).sum());
    (services.len() > 1).then_some((services, odd))
}

/// A verifier whose own challenge asks for another audience than the tokens of others have.
fn other_service(facts: &Facts<'_>) -> Option<Hypothesis> {
    let (services, odd) = services(facts)?;
    let end = |name: Option<&BackendName>| name.is_some_and(|name| odd.contains(name));
    let cells: Vec<_> = facts
        .refused_pairs()
        .into_iter()
        .filter(|(_, cell, _)| end(cell.verifier.backend()) != end(cell.issuer.backend()))
        .collect();
    if cells.is_empty() {
        return None;
    }
    let summary = format!(
        "{} {} for a different audience (service) than the tokens of the other nodes have.",
        list(&odd),
        verb(odd.len(), "asks", "ask")
    );
    let lines =
        services.iter().map(|(service, names)| format!("service {service:?}: {}", list(names)));
    let hypothesis = Hypothesis::new(IssuerAudienceMismatch, odd.clone(), summary)
        .hits(Hits::Tokens)
        .evidence(lines)
        .evidence(cells.iter().take(3).filter_map(|(_, cell, _)| describe(cell)))
        .explains(cells.iter().map(|(id, ..)| *id))
        .explains(flows_at(facts, &odd));
    debug_assert_eq!(hypothesis.confidence, Confidence::Proved, "the challenge itself says so");
    Some(hypothesis)
}

//! A node that treats the public URL as a foreign site (E2): it refuses even its own cookie because
//! of where the page came from.

use std::collections::BTreeSet;

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{BackendName, Check, CsrfVerdict, FindingName, OfPair, Outcome};

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let pairs = facts.round.checks.csrf.measured().map_or(&[][..], Vec::as_slice);
    let foreign =
        |pair: &OfPair<CsrfVerdict>| pair.value == Outcome::Measured(CsrfVerdict::ForeignOrigin);
    let own = |pair: &&OfPair<CsrfVerdict>| pair.issuer == pair.verifier;
    let refusing = |of: &mut dyn Iterator<Item = &OfPair<CsrfVerdict>>| -> Vec<BackendName> {
        let names: BTreeSet<BackendName> = of.map(|pair| pair.verifier.clone()).collect();
        names.into_iter().collect()
    };
    let its_own = refusing(&mut pairs.iter().filter(|pair| foreign(pair)).filter(own));
    // One that refuses only what others gave may mean something else by it.
    let proved = !its_own.is_empty();
    let names =
        if proved { its_own } else { refusing(&mut pairs.iter().filter(|pair| foreign(pair))) };
    if names.is_empty() {
        return Vec::new();
    }
    let whose = if proved {
        verb(names.len(), "its own cookie", "their own cookies")
    } else {
        "a cookie of another node"
    };
    let line = format!(
        "{}: a request with {whose} from a page of {} gets a 403 that names the origin",
        list(&names),
        facts.round.url
    );
    let takes = verb(
        names.len(),
        "treats its own public URL as a foreign site",
        "treat their own public URL as a foreign site",
    );
    let summary = format!("{} {takes}.", list(&names));
    let found = Hypothesis::new(FindingName::CsrfOriginRejected, names, summary)
        .proved_if(proved, &[FindingName::CsrfKeyMismatch])
        .hits(Hits::WebPages)
        .evidence([line])
        .explains(facts.met_between(Check::Csrf, pairs, foreign));
    vec![found]
}

//! What Harbor says of its own components. Its health page is evidence of a cause, and its silence
//! proves nothing: it does not try passwords and keys.

use super::super::facts::{Facts, ObservationId};
use crate::model::{BackendName, Check, Place, Route};

/// The backends that call a component unhealthy.
pub(super) fn calls_unhealthy(facts: &Facts<'_>, component: &str) -> Vec<BackendName> {
    let told = facts.round.checks.components();
    let fails = told.filter(|(_, told)| told.component == component && !told.healthy);
    fails.map(|(backend, _)| backend.clone()).collect()
}

/// What the health page of a backend was seen to say.
pub(super) fn health_of(facts: &Facts<'_>, name: &BackendName) -> Vec<ObservationId> {
    facts.met(Check::Health, &Place::route(&Route::Backend(name.clone())))
}

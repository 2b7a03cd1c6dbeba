//! What the checks found earlier, without the backends that have left since.

use super::{BackendName, Checked, Checks, OfPair, OfRoute, Outcome, Route};

impl Checks {
    /// Forgets what was found at other backends than these. A pod that is gone must neither be shown
    /// nor blamed until its check is due again.
    pub fn keep(&mut self, backends: &[BackendName]) {
        routes(&mut self.authorization_header, backends);
        routes(&mut self.public_url, backends);
        routes(&mut self.health, backends);
        routes(&mut self.latency, backends);
        routes(&mut self.body_limit, backends);
        routes(&mut self.directory_login, backends);
        pairs(&mut self.csrf, backends);
        pairs(&mut self.session, backends);
        if let Outcome::Measured(found) = &mut self.blob_redirect.found {
            found.at.retain(|at| stays(&at.route, backends));
        }
        if let Outcome::Measured(found) = &mut self.content.found {
            found.at.retain(|at| backends.contains(&at.backend));
        }
        if let Outcome::Measured(found) = &mut self.worker_pools.found {
            found.at.retain(|at| backends.contains(&at.backend));
        }
        if let Outcome::Measured(found) = &mut self.upload.found {
            found.begun.retain(|begun| stays(&begun.route, backends));
            found.pairs.retain(|pair| both_stay(pair, backends));
            found.ended.retain(|ended| stays(&ended.route, backends));
        }
        if let Outcome::Measured(found) = &mut self.push.found {
            found.by.retain(|by| stays(&by.route, backends));
            for run in &mut found.by {
                if let Outcome::Measured(run) = &mut run.value {
                    run.seen.retain(|seen| backends.contains(&seen.backend));
                }
            }
        }
    }
}

fn routes<T>(checked: &mut Checked<Vec<OfRoute<T>>>, backends: &[BackendName]) {
    if let Outcome::Measured(found) = &mut checked.found {
        found.retain(|of| stays(&of.route, backends));
    }
}

fn pairs<T>(checked: &mut Checked<Vec<OfPair<T>>>, backends: &[BackendName]) {
    if let Outcome::Measured(found) = &mut checked.found {
        found.retain(|pair| both_stay(pair, backends));
    }
}

fn stays(route: &Route, backends: &[BackendName]) -> bool {
    route.backend().is_none_or(|name| backends.contains(name))
}

fn both_stay<T>(pair: &OfPair<T>, backends: &[BackendName]) -> bool {
    backends.contains(&pair.issuer) && backends.contains(&pair.verifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CsrfVerdict, HeaderFate, sample};

    #[test]
    fn what_was_found_at_a_backend_goes_with_it_and_the_rest_stays() {
        let name = sample::backend;
        let checked = |found| Checked { at: Some(sample::started()), requests: 1, found };
        let pair = |issuer: &str, verifier: &str| OfPair {
            issuer: name(issuer),
            verifier: name(verifier),
            value: Outcome::Measured(CsrfVerdict::UnknownKey),
        };
        let fate = |route| OfRoute { route, value: Outcome::Measured(HeaderFate::Arrived) };
        let mut checks = Checks {
            csrf: checked(Outcome::Measured(vec![pair("a", "b"), pair("b", "b"), pair("b", "a")])),
            ..Checks::default()
        };
        let header =
            vec![fate(sample::route("a")), fate(sample::route("b")), fate(Route::Balancer)];
        checks.authorization_header =
            Checked { at: None, requests: 1, found: Outcome::Measured(header) };
        checks.keep(&[name("b")]);
        assert_eq!(checks.csrf.measured().unwrap(), &[pair("b", "b")]);
        let left = checks.authorization_header.measured().unwrap();
        assert_eq!(left, &[fate(sample::route("b")), fate(Route::Balancer)]);
    }
}

//! What the checks found earlier, without the backends that have left since.

use super::{BackendName, Checked, Checks, OfPair, OfRoute, Outcome, Route};

impl Checks {
    /// Forgets what was found at other backends than these. A pod that is gone must neither be shown
    /// nor blamed until its check is due again.
    pub fn keep(&mut self, backends: &[BackendName]) {
        // Every field by name, so that a new check is not forgotten here.
        let Self {
            authorization_header,
            public_url,
            dns,
            health,
            latency,
            csrf,
            session,
            body_limit,
            blob_redirect,
            content,
            upload,
            push,
            directory_login,
            worker_pools,
            replications,
        } = self;
        routes(authorization_header, backends);
        routes(public_url, backends);
        routes(health, backends);
        routes(latency, backends);
        routes(body_limit, backends);
        routes(directory_login, backends);
        pairs(csrf, backends);
        pairs(session, backends);
        if let Outcome::Measured(found) = &mut dns.found {
            let stays = |name: &Option<BackendName>| {
                name.as_ref().is_none_or(|name| backends.contains(name))
            };
            found.addresses.retain(|at| stays(&at.backend));
        }
        if let Outcome::Measured(found) = &mut replications.found {
            // Without one of its logs a task would look like one whose log no node has.
            found.tasks.retain(|task| task.logs.iter().all(|log| backends.contains(&log.backend)));
        }
        if let Outcome::Measured(found) = &mut blob_redirect.found {
            found.at.retain(|at| stays(&at.route, backends));
        }
        if let Outcome::Measured(found) = &mut content.found {
            found.at.retain(|at| backends.contains(&at.backend));
        }
        if let Outcome::Measured(found) = &mut worker_pools.found {
            found.at.retain(|at| backends.contains(&at.backend));
        }
        if let Outcome::Measured(found) = &mut upload.found {
            found.begun.retain(|begun| stays(&begun.route, backends));
            found.pairs.retain(|pair| both_stay(pair, backends));
            found.ended.retain(|ended| stays(&ended.route, backends));
        }
        if let Outcome::Measured(found) = &mut push.found {
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

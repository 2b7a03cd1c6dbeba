//! What the checks met: every answer that a sound server of that family does not give.

use crate::model::{
    Begun, BlobWay, Check, Content, ContentAt, ContentFound, CsrfVerdict, Failure, Family, Flow,
    HeaderFate, Issuer, LoginVerdict, Observation, ObservationKind, OfPair, OfRoute, Outcome,
    Place, PushFailure, PushStep, ReadBack, Reason, Round, Route, SessionVerdict, Skipped, Step,
    UploadVerdict, Uploads, UrlSaid,
};

pub(super) fn observe(round: &Round) -> Vec<Observation> {
    let mut seen = Seen { round, all: Vec::new() };
    seen.authorization_header();
    seen.public_url();
    seen.dns();
    seen.health();
    seen.web_state();
    seen.body_limit();
    seen.blob_redirect();
    seen.content();
    seen.uploads();
    seen.pushes();
    seen.directory();
    seen.jobs();
    seen.all
}

struct Seen<'a> {
    round: &'a Round,
    all: Vec<Observation>,
}

impl Seen<'_> {
    fn refused(&mut self, check: Check, place: Place, reason: Reason, detail: String) {
        let failure = Failure::of_answer(reason, detail);
        let observed = Observation::single(ObservationKind::CheckRefused, place, failure);
        self.all.push(Observation { check: Some(check), ..observed });
    }

    /// A request of a check that failed, unless for reasons of the prober's own.
    fn failed(&mut self, check: Check, place: Place, failure: &Failure) {
        if failure.reason.is_own() {
            return;
        }
        let observed = Observation::single(ObservationKind::CheckFailed, place, failure.clone());
        self.all.push(Observation { check: Some(check), ..observed });
    }

    /// What every route gave to a check: failures, and values in which `wrong` finds something.
    fn routes<T>(
        &mut self,
        check: Check,
        of: &[OfRoute<T>],
        wrong: impl Fn(&OfRoute<T>, &T) -> Option<(Reason, String)>,
    ) {
        for at in of {
            let place = Place::route(&at.route);
            match &at.value {
                Outcome::Failed(failure) => self.failed(check, place, failure),
                Outcome::Measured(value) => {
                    if let Some((reason, detail)) = wrong(at, value) {
                        self.refused(check, place, reason, detail);
                    }
                }
                Outcome::Skipped(_) => {}
            }
        }
    }

    fn pairs<T>(
        &mut self,
        check: Check,
        of: &[OfPair<T>],
        wrong: impl Fn(&T) -> Option<(Reason, String)>,
    ) {
        for pair in of {
            let place = Place::between(&pair.issuer, &pair.verifier);
            match &pair.value {
                Outcome::Failed(failure) => self.failed(check, place, failure),
                Outcome::Measured(value) => {
                    if let Some((reason, detail)) = wrong(value) {
                        self.refused(check, place, reason, detail);
                    }
                }
                Outcome::Skipped(_) => {}
            }
        }
    }

    /// A check that failed as a whole.
    fn whole<T>(&mut self, check: Check, found: &Outcome<T>) {
        if let Outcome::Failed(failure) = found {
            self.failed(check, Place::route(&Route::Balancer), failure);
        }
    }

    fn authorization_header(&mut self) {
        let round = self.round;
        let checked = &round.checks.authorization_header;
        self.whole(Check::AuthorizationHeader, &checked.found);
        let routes = checked.measured().map_or(&[][..], Vec::as_slice);
        // A server that treats an invalid token as a guest's is no failure for anyone.
        let told = |at: &&OfRoute<HeaderFate>| match &at.value {
            Outcome::Failed(failure) => {
                failure.reason.is_network() || failure.reason.is_server_error()
            }
            _ => true,
        };
        let routes: Vec<OfRoute<HeaderFate>> = routes.iter().filter(told).cloned().collect();
        self.routes(Check::AuthorizationHeader, &routes, |at, _| {
            header_is_dropped(round, &at.route).then(|| {
                let detail = "an invalid token gets the same answer as no token";
                (Reason::Unauthorized, detail.to_owned())
            })
        });
    }

    fn public_url(&mut self) {
        let checked = &self.round.checks.public_url;
        self.whole(Check::PublicUrl, &checked.found);
        let said = checked.measured().into_iter().flatten();
        let usual = said
            .clone()
            .any(|at| at.value.measured().is_some_and(|said| said.repository.measured().is_some()));
        for at in said {
            let place = Place::route(&at.route);
            match &at.value {
                Outcome::Failed(failure) => self.failed(Check::PublicUrl, place, failure),
                Outcome::Measured(said) => self.repository_challenge(at, said, usual),
                Outcome::Skipped(_) => {}
            }
        }
    }

    /// What a repository answers to a request without a token. A registry may refuse that in its
    /// own way; where another route's challenge is the `usual` one, it is not the registry's way.
    fn repository_challenge(&mut self, at: &OfRoute<UrlSaid>, said: &UrlSaid, usual: bool) {
        let place = Place::route(&at.route);
        let lost =
            |failure: &Failure| failure.reason.is_network() || failure.reason.is_server_error();
        if let Outcome::Failed(failure) = &said.repository
            && (usual || lost(failure))
        {
            self.failed(Check::PublicUrl, place.clone(), failure);
        }
        let astray = said.other().filter(|named| {
            said.base.allowed && !named.allowed && is_current(self.round, &at.route, said)
        });
        if let Some(named) = astray {
            let detail =
                format!("the challenge of a repository names the token endpoint {}", named.realm);
            self.refused(Check::PublicUrl, place, Reason::RealmNotAllowed, detail);
        }
    }

    /// An address of the public name that does not answer. What answers otherwise than the
    /// backends is for the rule: it has to be compared with them.
    fn dns(&mut self) {
        let checked = &self.round.checks.dns;
        self.whole(Check::Dns, &checked.found);
        for address in checked.measured().into_iter().flat_map(|report| &report.addresses) {
            if let Outcome::Failed(failure) = &address.seen {
                let failure = Failure {
                    detail: format!("{}: {}", address.address, failure.detail),
                    ..failure.clone()
                };
                let place = match &address.backend {
                    Some(name) => Place::route(&Route::Backend(name.clone())),
                    None => Place::route(&Route::Balancer),
                };
                self.failed(Check::Dns, place, &failure);
            }
        }
    }

    fn health(&mut self) {
        let checked = &self.round.checks.health;
        self.whole(Check::Health, &checked.found);
        let routes = checked.measured().map_or(&[][..], Vec::as_slice);
        self.routes(Check::Health, routes, |_, components| {
            let sick = components.iter().filter(|component| !component.healthy);
            let sick: Vec<&str> = sick.map(|component| component.component.as_str()).collect();
            let detail = format!("reports as unhealthy: {}", sick.join(", "));
            (!sick.is_empty()).then_some((Reason::Unavailable, detail))
        });
    }

    fn web_state(&mut self) {
        let checks = &self.round.checks;
        self.whole(Check::Csrf, &checks.csrf.found);
        let csrf = checks.csrf.measured().map_or(&[][..], Vec::as_slice);
        self.pairs(Check::Csrf, csrf, |verdict| {
            let detail = match verdict {
                CsrfVerdict::Accepted => return None,
                CsrfVerdict::UnknownKey => "the CSRF cookie cannot be read",
                CsrfVerdict::ForeignOrigin => "the public URL is treated as a foreign site",
            };
            Some((Reason::Forbidden, detail.to_owned()))
        });
        self.whole(Check::Session, &checks.session.found);
        let session = checks.session.measured().map_or(&[][..], Vec::as_slice);
        self.pairs(Check::Session, session, |verdict| {
            let detail = "the web session is unknown".to_owned();
            (*verdict == SessionVerdict::Unknown).then_some((Reason::NotFound, detail))
        });
    }

    fn body_limit(&mut self) {
        let checked = &self.round.checks.body_limit;
        // No client declares a length and sends nothing; whoever closes the connection may.
        for at in checked.measured().into_iter().flatten() {
            let refused = at.value.measured().and_then(|limit| limit.refused);
            if let Some(refused) = refused {
                let detail =
                    format!("413 to a declared length of {}", crate::model::Bytes(refused));
                let place = Place::route(&at.route);
                self.refused(Check::BodyLimit, place, Reason::UnexpectedStatus, detail);
            }
        }
    }

    fn blob_redirect(&mut self) {
        let checked = &self.round.checks.blob_redirect;
        self.whole(Check::BlobRedirect, &checked.found);
        let routes = checked.measured().map_or(&[][..], |found| found.at.as_slice());
        self.routes(Check::BlobRedirect, routes, |_, way| {
            let BlobWay::Redirected { to, fetched } = way else { return None };
            match fetched {
                Outcome::Measured(fetched) if !fetched.is_good() => {
                    let reason = Reason::of_status(fetched.status);
                    Some((reason, format!("{to} answers {}", fetched.status)))
                }
                Outcome::Failed(failure) if !is_out_of_means(failure) => {
                    Some((failure.reason, format!("{to}: {failure}")))
                }
                _ => None,
            }
        });
    }

    fn content(&mut self) {
        let checked = &self.round.checks.content;
        let Some(content) = checked.measured() else { return };
        if let Outcome::Failed(failure) = &content.through {
            let detail = format!("a pull: {}", failure.detail);
            let failure = Failure { detail, ..failure.clone() };
            self.failed(Check::Content, Place::route(&Route::Balancer), &failure);
        }
        let listed = |at: &ContentAt| at.found.measured().is_some_and(|found| found.listed);
        let is_listed = content.at.iter().any(listed);
        for at in &content.at {
            let place = Place::route(&Route::Backend(at.backend.clone()));
            match &at.found {
                Outcome::Failed(failure) => self.failed(Check::Content, place, failure),
                // What no list has any more was deleted meanwhile, and is missing nowhere.
                Outcome::Measured(found) if is_listed => {
                    if let Some(detail) = missing(content, found) {
                        self.refused(Check::Content, place, Reason::NotFound, detail);
                    }
                }
                _ => {}
            }
        }
    }

    fn uploads(&mut self) {
        let checked = &self.round.checks.upload;
        self.whole(Check::Upload, &checked.found);
        let Some(uploads) = checked.measured() else { return };
        let public = self.round.url.trim_end_matches('/').to_owned();
        let mended = is_mended(uploads, &public);
        self.routes(Check::Upload, &uploads.begun, |_, begun| match begun {
            Begun::ReadOnly => Some((Reason::Forbidden, "writes are refused".to_owned())),
            Begun::At(Some(at)) if *at != public && !mended => {
                Some((Reason::Redirected, format!("an upload continues at {at}")))
            }
            Begun::At(_) => None,
        });
        for ended in &uploads.ended {
            if let Outcome::Failed(failure) = &ended.value {
                let detail = format!("end of an upload: {}", failure.detail);
                let failure = Failure { detail, ..failure.clone() };
                self.failed(Check::Upload, Place::route(&ended.route), &failure);
            }
        }
        self.pairs(Check::Upload, &uploads.pairs, |verdict| {
            let detail = match verdict {
                UploadVerdict::Known => return None,
                UploadVerdict::KnownLate { .. } => "an upload was unknown at first",
                UploadVerdict::Invalid => "an upload is invalid (BLOB_UPLOAD_INVALID)",
                UploadVerdict::Unknown => "an upload is unknown (BLOB_UPLOAD_UNKNOWN)",
            };
            Some((Reason::NotFound, detail.to_owned()))
        });
    }

    fn pushes(&mut self) {
        let checked = &self.round.checks.push;
        self.whole(Check::Push, &checked.found);
        for by in checked.measured().into_iter().flat_map(|pushed| &pushed.by) {
            let run = match &by.value {
                Outcome::Measured(run) => run,
                Outcome::Failed(failure) => {
                    self.failed(Check::Push, Place::route(&by.route), failure);
                    continue;
                }
                Outcome::Skipped(_) => continue,
            };
            // Another prober's push moved the tag meanwhile: what it led to before may be gone.
            let moved = run.seen.iter().any(|s| s.value == Outcome::Skipped(Skipped::Moved));
            let replaced = |failed: &PushFailure| {
                moved && failed.step == PushStep::Pull && failed.failure.reason == Reason::NotFound
            };
            if let Some(failed) = run.failed.as_ref().filter(|failed| !replaced(failed)) {
                let failure = Failure {
                    detail: format!("{}: {}", failed.step.as_str(), failed.failure.detail),
                    ..failed.failure.clone()
                };
                self.failed(Check::Push, Place::route(&by.route), &failure);
            }
            for seen in &run.seen {
                let place = Place::Pair {
                    issuer: Issuer::Route(by.route.clone()),
                    verifier: Route::Backend(seen.backend.clone()),
                };
                let detail = match &seen.value {
                    Outcome::Measured(ReadBack::Late { .. }) => "a push was seen late",
                    Outcome::Measured(ReadBack::ManifestUnknown) => "a push is not there",
                    Outcome::Measured(ReadBack::Other) => "the tag leads to an older push",
                    Outcome::Failed(failure) => {
                        self.failed(Check::Push, place, failure);
                        continue;
                    }
                    Outcome::Measured(ReadBack::There) | Outcome::Skipped(_) => continue,
                };
                self.refused(Check::Push, place, Reason::NotFound, detail.to_owned());
            }
        }
    }

    fn directory(&mut self) {
        let checked = &self.round.checks.directory_login;
        self.whole(Check::DirectoryLogin, &checked.found);
        let routes = checked.measured().map_or(&[][..], Vec::as_slice);
        self.routes(Check::DirectoryLogin, routes, |_, login| {
            let (reason, how) = match login.verdict {
                LoginVerdict::Accepted => return None,
                LoginVerdict::Refused => (Reason::Unauthorized, "refused"),
                LoginVerdict::TimedOut => (Reason::Timeout, "not answered"),
            };
            Some((
                reason,
                format!(
                    "the login with the directory's account is {how} after {:.2} s",
                    login.seconds
                ),
            ))
        });
    }

    /// Only what servers fail to tell: what the lists mean is for the rules, and a refusal is of
    /// the prober's own credential.
    fn jobs(&mut self) {
        let checks = &self.round.checks;
        for at in checks.worker_pools.measured().into_iter().flat_map(|pools| &pools.at) {
            if let Outcome::Failed(failure) = &at.ids
                && (failure.reason.is_network() || failure.reason.is_server_error())
            {
                let place = Place::route(&Route::Backend(at.backend.clone()));
                self.failed(Check::WorkerPools, place, failure);
            }
        }
    }
}

/// What a backend lacks of the tag, or has late; none if all is well.
fn missing(content: &Content, found: &ContentFound) -> Option<String> {
    let tag = format!("{}:{}", content.repository, content.tag);
    if content.is_whole(found) {
        return found.healed_after_ms.map(|_| format!("{tag} was not there at first"));
    }
    Some(if !found.listed {
        format!("{tag} is not listed")
    } else if found.tagged.is_none() {
        format!("{tag} is listed and its manifest is not there")
    } else if found.tagged.as_ref() != Some(&content.digest) {
        format!("{tag} is a different manifest than on other nodes")
    } else if !found.manifest {
        format!("the manifest of {tag} is not found by its digest")
    } else if found.config == Some(false) {
        format!("a blob of {tag} is not there")
    } else {
        format!("a blob of {tag} cannot be read")
    })
}

/// Whether every node sends uploads on to a wrong place and the load balancer corrects that, so
/// that no client is affected.
fn is_mended(uploads: &Uploads, public: &str) -> bool {
    let is_right = |begun: &&OfRoute<Begun>| match &begun.value {
        Outcome::Measured(Begun::At(at)) => at.as_ref().is_none_or(|at| at == public),
        _ => false,
    };
    let mut right = uploads.begun.iter().filter(is_right).map(|begun| &begun.route).peekable();
    right.peek().is_some() && right.all(|route| *route == Route::Balancer)
}

/// Whether the prober could not ask. A name that the registry gave and the prober's resolver does
/// not know does not count: clients' resolvers may not know it either.
fn is_out_of_means(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::DeadlineReached | Reason::ProberLimit | Reason::ProberBusy)
}

/// Whether the check shows that a route drops the `Authorization` header. A route that accepts a
/// good token, or refuses it otherwise than by a challenge, does not drop it, whatever else it
/// shows. Many servers answer a bad token as they answer none, which shows nothing: those of an
/// unknown family, and those of which a node does so and accepts good tokens.
pub(in super::super) fn header_is_dropped(round: &Round, route: &Route) -> bool {
    let fates = || round.checks.authorization_header.measured().into_iter().flatten();
    let fate = |wanted| move |at: &&OfRoute<HeaderFate>| at.value.measured() == Some(&wanted);
    let dropped = || fates().filter(fate(HeaderFate::Dropped));
    let takes_tokens = |route: &Route| {
        round.flow(route).is_some_and(|flow| {
            flow.token.measured().is_some() && flow.passed(Step::Access) == Some(true)
        })
    };
    let answer = round.flow(route).and_then(|flow| flow.answer(Step::Access));
    let arrives = takes_tokens(route) || answer.is_some_and(|answer| answer.status != 401);
    let contrast = fates().any(|at| fate(HeaderFate::Arrived)(&at));
    // Without one, something else has to fail as it does where a password or token is not seen.
    let unseen = round
        .flow(route)
        .and_then(Flow::failure)
        .is_some_and(|(step, failure)| step >= Step::Token && failure.reason.refuses_credential());
    let known = round.backends.iter().any(|facts| facts.family != Family::Unknown);
    let shows = contrast || (known && unseen);
    let indifferent = dropped().any(|at| at.route.backend().is_some() && takes_tokens(&at.route));
    dropped().any(|at| at.route == *route) && !arrives && shows && !indifferent
}

/// Whether `/v2/` still says what it said when the check ran. The last result of a check is kept
/// for a while, and what was corrected meanwhile is no finding.
pub(in super::super) fn is_current(round: &Round, route: &Route, said: &UrlSaid) -> bool {
    let now = round.flow(route).and_then(|flow| flow.challenge.measured());
    now.is_some_and(|now| {
        now.realm.as_ref() == Some(&said.base.realm) && now.service == said.base.service
    })
}

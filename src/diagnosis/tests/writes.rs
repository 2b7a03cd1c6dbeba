//! Content, uploads and pushes: whose storage, whose database, whose secret, or a late cache.

use super::tables::{THREE, assess, expect, families};
use crate::model::sample::{backend, changed, route};
use crate::model::{
    Begun, BlobRedirects, Checked, Content, ContentAt, ContentFound, Failure, Family, Finding,
    FindingName, OfPair, OfRoute, Outcome, PushFailure, PushRun, PushStep, Pushed, ReadBack,
    Reason, Round, SeenAt, UploadVerdict, Uploads,
};

const DIGEST: &str = "sha256:1111111111111111";

fn whole() -> ContentFound {
    ContentFound {
        listed: true,
        tagged: Some(DIGEST.to_owned()),
        manifest: true,
        config: Some(true),
        readable: Some(true),
        healed_after_ms: None,
        since: None,
    }
}

fn nothing() -> ContentFound {
    ContentFound { listed: false, tagged: None, manifest: false, config: None, ..whole() }
}

fn other() -> ContentFound {
    ContentFound { tagged: Some("sha256:2222222222222222".to_owned()), ..whole() }
}

/// What these backends have of the canary; of the others nothing is known.
fn content(round: &mut Round, at: &[(&str, ContentFound)]) {
    let at = at.iter().map(|(name, found)| ContentAt {
        backend: backend(name),
        found: Outcome::Measured(found.clone()),
    });
    let found = Outcome::Measured(Content {
        repository: "probe/canary".to_owned(),
        tag: "canary".to_owned(),
        digest: DIGEST.to_owned(),
        config: None,
        at: at.collect(),
        through: Outcome::Measured(()),
    });
    round.checks.content = Checked { found, ..Checked::default() };
}

/// Where uploads go on: issuer, verifier, verdict; each node also goes on with its own.
fn uploads(round: &mut Round, pairs: &[(&str, &str, UploadVerdict)]) {
    let own = THREE.iter().map(|name| (*name, *name, UploadVerdict::Known));
    let own = own.filter(|(name, ..)| !pairs.iter().any(|(i, v, _)| i == name && v == name));
    let pair = |(issuer, verifier, verdict): (&str, &str, UploadVerdict)| OfPair {
        issuer: backend(issuer),
        verifier: backend(verifier),
        value: Outcome::Measured(verdict),
    };
    let all = own.chain(pairs.iter().copied()).map(pair).collect();
    let uploads = Uploads { pairs: all, ..Uploads::default() };
    round.checks.upload = Checked { found: Outcome::Measured(uploads), ..Checked::default() };
}

/// Where uploads that were begun over routes go on.
fn begun(round: &mut Round, routes: &[(&str, Begun)]) {
    let at = routes.iter().map(|(name, begun)| OfRoute {
        route: route(name),
        value: Outcome::Measured(begun.clone()),
    });
    let uploads = Uploads { begun: at.collect(), ..Uploads::default() };
    round.checks.upload = Checked { found: Outcome::Measured(uploads), ..Checked::default() };
}

/// What a push over a route was to others, or how it failed.
fn pushed(round: &mut Round, by: &str, seen: &[(&str, ReadBack)], failed: Option<PushFailure>) {
    let seen = seen
        .iter()
        .map(|(name, seen)| SeenAt { backend: backend(name), value: Outcome::Measured(*seen) });
    let run = PushRun { digest: DIGEST.to_owned(), failed, seen: seen.collect() };
    let by = vec![OfRoute { route: route(by), value: Outcome::Measured(run) }];
    let pushed =
        Pushed { repository: "probe/scratch".to_owned(), tag: "registry-prober".to_owned(), by };
    round.checks.push = Checked { found: Outcome::Measured(pushed), ..Checked::default() };
}

fn failed(step: PushStep, read_only: bool) -> PushFailure {
    let failure = Failure::of_answer(Reason::UnexpectedStatus, "as ordered");
    PushFailure { step, failure, read_only }
}

fn plain(round: &mut Round) {
    families(round, Family::Distribution2);
}

const STORAGE: &str = "storage-not-shared critical proved [b]";
const DATABASE: &str = "content-differs critical proved [b]";
const STALE: &str = "storage-stale-reads critical suspected [b]";

#[test]
fn missing_content_is_the_databases_where_there_is_one_and_else_the_storages() {
    expect(&[
        ("all have it", |r| content(r, &["a", "b", "c"].map(|name| (name, whole()))), ""),
        (
            "nobody has it any more",
            |r| content(r, &["a", "b", "c"].map(|name| (name, nothing()))),
            "",
        ),
        (
            "Harbor does not list it",
            |r| content(r, &[("a", whole()), ("b", nothing()), ("c", whole())]),
            DATABASE,
        ),
        (
            "distribution does not list it",
            |r| {
                plain(r);
                content(r, &[("a", whole()), ("b", nothing()), ("c", whole())]);
            },
            STORAGE,
        ),
        (
            "Harbor lists it under another digest",
            |r| content(r, &[("a", whole()), ("b", other()), ("c", whole())]),
            DATABASE,
        ),
        (
            "Harbor lists it and has no bytes",
            |r| {
                let lost = ContentFound { config: Some(false), readable: None, ..whole() };
                content(r, &[("a", whole()), ("b", lost), ("c", whole())]);
            },
            STORAGE,
        ),
        (
            "the descriptor is known and its bytes are gone",
            |r| {
                let lost = ContentFound { readable: Some(false), ..whole() };
                content(r, &[("a", whole()), ("b", lost), ("c", whole())]);
            },
            STALE,
        ),
        (
            "neither manifest nor bytes",
            |r| {
                plain(r);
                let lost = ContentFound { readable: Some(false), ..nothing() };
                content(r, &[("a", whole()), ("b", lost), ("c", whole())]);
            },
            STORAGE,
        ),
        (
            "of two that differ nobody knows which is right",
            |r| content(r, &[("a", whole()), ("b", other())]),
            "content-differs critical proved [a b]",
        ),
        ("of two one has nothing", |r| content(r, &[("a", whole()), ("b", nothing())]), DATABASE),
    ]);
}

#[test]
fn what_a_push_or_an_upload_meets_is_laid_at_the_node_that_lacks_it() {
    use UploadVerdict::{Invalid, Known, KnownLate, Unknown};
    expect(&[
        (
            "pushed at one and another manifest at a second, with a database",
            |r| pushed(r, "a", &[("b", ReadBack::Other), ("c", ReadBack::There)], None),
            DATABASE,
        ),
        (
            "the same without one",
            |r| {
                plain(r);
                pushed(r, "a", &[("b", ReadBack::Other), ("c", ReadBack::There)], None);
            },
            STORAGE,
        ),
        (
            "no manifest at a second",
            |r| pushed(r, "a", &[("b", ReadBack::ManifestUnknown), ("c", ReadBack::There)], None),
            STORAGE,
        ),
        (
            "pushed at a node that is known to be apart",
            |r| {
                plain(r);
                content(r, &[("a", whole()), ("b", nothing()), ("c", whole())]);
                let none = ReadBack::ManifestUnknown;
                pushed(r, "b", &[("a", none), ("c", none)], None);
            },
            STORAGE,
        ),
        (
            "pushed through the balancer, which may have led to the odd one",
            |r| pushed(r, "lb", &[("b", ReadBack::ManifestUnknown)], None),
            "storage-not-shared critical suspected []",
        ),
        (
            "uploads unknown to each other, where content tells who is apart",
            |r| {
                plain(r);
                content(r, &[("a", whole()), ("b", nothing()), ("c", whole())]);
                uploads(r, &[("a", "b", Unknown), ("b", "a", Unknown)]);
            },
            STORAGE,
        ),
        (
            "an upload that its own node does not know",
            |r| uploads(r, &[("a", "a", Unknown), ("a", "b", Unknown), ("a", "c", Unknown)]),
            "storage-not-shared critical suspected [a]",
        ),
        (
            "an upload that its own node knows late",
            |r| uploads(r, &[("b", "b", KnownLate { after_ms: 600 })]),
            STALE,
        ),
        (
            "an upload that another node knows late",
            |r| uploads(r, &[("a", "b", KnownLate { after_ms: 600 })]),
            "storage-stale-reads critical proved [b]",
        ),
        (
            "uploads of one node are refused elsewhere, and it takes those of others",
            |r| {
                let good = [("a", "b"), ("c", "b"), ("a", "c"), ("c", "a")];
                let good = good.map(|(issuer, verifier)| (issuer, verifier, Known));
                let bad = [("b", "a", Invalid), ("b", "c", Invalid)];
                uploads(r, &[good.as_slice(), &bad].concat());
            },
            "http-secret-mismatch critical proved [b]",
        ),
    ]);
}

#[test]
fn where_writes_are_sent_or_refused_is_told_by_every_route_that_tried() {
    expect(&[
        (
            "one node sends uploads elsewhere, though the balancer mends it",
            |r| {
                let (public, wrong) = (r.url.clone(), "http://x".to_owned());
                let at = |text: &str| Begun::At(Some(text.to_owned()));
                begun(r, &[("a", at(&public)), ("b", at(&wrong)), ("lb", at(&public))]);
            },
            "upload-location-wrong critical proved [b]",
        ),
        (
            "every node, and the balancer too",
            |r| begun(r, &["a", "b", "c", "lb"].map(|name| (name, elsewhere()))),
            "upload-location-wrong critical proved []",
        ),
        (
            "every node, and the balancer was not tried",
            |r| begun(r, &["a", "b", "c"].map(|name| (name, elsewhere()))),
            "upload-location-wrong warning proved []",
        ),
        (
            "only a path is named",
            |r| begun(r, &["a", "b", "c", "lb"].map(|name| (name, Begun::At(None)))),
            "",
        ),
        (
            "no node takes uploads",
            |r| begun(r, &["a", "b", "c"].map(|name| (name, Begun::ReadOnly))),
            "read-only-mode critical proved []",
        ),
        (
            "one takes none",
            |r| begun(r, &[("a", Begun::At(None)), ("b", Begun::ReadOnly)]),
            "read-only-mode critical proved [b]",
        ),
        (
            "one refuses a push for that",
            |r| {
                begun(r, &[("a", Begun::At(None))]);
                pushed(r, "b", &[], Some(failed(PushStep::Begin, true)));
            },
            "read-only-mode critical proved [b]",
        ),
        (
            "one refuses a push for something else",
            |r| {
                begun(r, &[("a", Begun::At(None))]);
                pushed(r, "b", &[], Some(failed(PushStep::Begin, false)));
            },
            "unexplained-refusal warning suspected [b]",
        ),
    ]);
}

fn elsewhere() -> Begun {
    Begun::At(Some("http://x".to_owned()))
}

#[test]
fn a_lost_push_and_a_lost_upload_are_evidence_of_one_cause() {
    use UploadVerdict::{Invalid, Unknown};
    for (step, quoted) in
        [(PushStep::Begin, false), (PushStep::Blob, true), (PushStep::Manifest, true)]
    {
        let round = changed(THREE, |r| {
            uploads(r, &[("a", "b", Invalid), ("b", "a", Invalid)]);
            pushed(r, "lb", &[], Some(failed(step, false)));
        });
        let findings = assess(&round).findings;
        let secret = |finding: &&Finding| finding.finding == FindingName::HttpSecretMismatch;
        let finding = findings.iter().find(secret).unwrap();
        // A push that does not even begin fails for another reason.
        assert_eq!(findings.len(), if quoted { 1 } else { 2 }, "{findings:#?}");
        let told = finding.evidence.iter().any(|line| line.contains("a push through the load"));
        assert_eq!(told, quoted, "{step:?}");
    }
    // A database of its own comes with a storage of its own.
    let round = changed(THREE, |r| {
        r.balancer = Outcome::Skipped(crate::model::Skipped::Disabled);
        content(r, &[("a", whole()), ("b", nothing()), ("c", whole())]);
        uploads(r, &[("a", "b", Unknown), ("b", "a", Unknown)]);
    });
    let findings = assess(&round).findings;
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(finding.backends, [backend("b")]);
    assert_eq!(finding.evidence.len(), 3, "{:?}", finding.evidence);
}

/// Fails a push over a route for this reason.
fn push_fails(round: &mut Round, by: &str, reason: Reason) {
    let failure = Failure::of_answer(reason, "as ordered");
    let failed = PushFailure { step: PushStep::Blob, failure, read_only: false };
    pushed(round, by, &[], Some(failed));
}

/// A pull through the balancer fails for this reason.
fn pull_fails(round: &mut Round, reason: Reason) {
    content(round, &["a", "b", "c"].map(|name| (name, whole())));
    if let Outcome::Measured(content) = &mut round.checks.content.found {
        content.through = Outcome::Failed(Failure::of_answer(reason, "as ordered"));
    }
}

#[test]
fn a_failure_inside_a_check_is_told_whether_or_not_its_cause_is_known() {
    expect(&[
        (
            "a push fails at one node",
            |r| push_fails(r, "b", Reason::ServerError),
            "unexplained-refusal warning suspected [b]",
        ),
        (
            "a push fails through the balancer",
            |r| push_fails(r, "lb", Reason::ServerError),
            "unexplained-refusal critical suspected []",
        ),
        (
            "a pull fails through the balancer",
            |r| pull_fails(r, Reason::Forbidden),
            "unexplained-refusal critical suspected []",
        ),
        (
            "a pull through the balancer meets the node that lacks the content",
            |r| {
                pull_fails(r, Reason::NotFound);
                if let Outcome::Measured(content) = &mut r.checks.content.found {
                    content.at[1].found = Outcome::Measured(nothing());
                }
            },
            DATABASE,
        ),
        (
            "another check misses a blob where the storage lacks it",
            |r| {
                plain(r);
                content(r, &[("a", whole()), ("b", nothing()), ("c", whole())]);
                let failure = Failure::of_answer(Reason::NotFound, "as ordered");
                let at = vec![OfRoute { route: route("b"), value: Outcome::Failed(failure) }];
                let found = Outcome::Measured(BlobRedirects { digest: DIGEST.to_owned(), at });
                r.checks.blob_redirect = Checked { found, ..Checked::default() };
            },
            STORAGE,
        ),
        (
            "an upload of another node cannot go on where nothing may be written",
            |r| {
                uploads(r, &[]);
                if let Outcome::Measured(uploads) = &mut r.checks.upload.found {
                    let failure = Failure::of_answer(Reason::UnexpectedStatus, "status 405");
                    let (issuer, verifier) = (backend("a"), backend("b"));
                    let value = Outcome::Failed(failure);
                    uploads.pairs.push(OfPair { issuer, verifier, value });
                    let at = [("a", Begun::At(None)), ("b", Begun::ReadOnly)];
                    let at = at.map(|(name, begun)| OfRoute {
                        route: route(name),
                        value: Outcome::Measured(begun),
                    });
                    uploads.begun = at.into();
                }
            },
            "read-only-mode critical proved [b]",
        ),
        (
            "a storage fails at every node",
            |r| {
                let lost = ContentFound { readable: Some(false), ..whole() };
                content(r, &["a", "b", "c"].map(|name| (name, lost.clone())));
            },
            "unexplained-refusal critical suspected [a b c]",
        ),
        (
            "an upload cannot be ended where it was begun",
            |r| {
                begun(r, &[("b", Begun::At(None))]);
                if let Outcome::Measured(uploads) = &mut r.checks.upload.found {
                    let failure = Failure::of_answer(Reason::ServerError, "as ordered");
                    let value = Outcome::Failed(failure);
                    uploads.ended = vec![OfRoute { route: route("b"), value }];
                }
            },
            "unexplained-refusal warning suspected [b]",
        ),
    ]);
}

#[test]
fn no_route_that_may_push_is_the_probers_own_affair() {
    let refused = |r: &mut Round, names: &[&str]| {
        let failure = Failure::of_answer(Reason::MissingAccess, "as ordered");
        begun(r, &["a", "b", "c", "lb"].map(|name| (name, Begun::At(None))));
        if let Outcome::Measured(uploads) = &mut r.checks.upload.found {
            for at in &mut uploads.begun {
                if names.iter().any(|name| at.route == route(name)) {
                    at.value = Outcome::Failed(failure.clone());
                }
            }
        }
    };
    let judged = |names: &[&str]| {
        super::tables::lines(&assess(&changed(THREE, |r| refused(r, names)))).join("; ")
    };
    assert_eq!(judged(&["a", "b", "c", "lb"]), "repository-access-denied warning proved []");
    assert_eq!(judged(&["b"]), "unexplained-refusal warning suspected [b]");
}

//! What content, uploads and pushes show of storages, databases and caches. Read here once for the
//! causes that look at it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::super::facts::{Facts, ObservationId};
use super::shared::{Division, Shared};
use crate::model::{
    BackendName, Check, Content, ContentAt, ContentFound, Family, Issuer, OfPair, Outcome, Place,
    Pushed, ReadBack, Route, SeenAt, UploadVerdict, Uploads,
};

/// What speaks against a node.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) lines: Vec<String>,
    pub(super) ids: Vec<ObservationId>,
}

impl Marks {
    fn add(&mut self, line: String, ids: Vec<ObservationId>) {
        self.lines.push(line);
        self.ids.extend(ids);
    }
}

/// What speaks against nodes, by node.
#[derive(Default)]
pub(super) struct Against(BTreeMap<BackendName, Marks>);

impl Against {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> Vec<BackendName> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn has(&self, name: &BackendName) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.values().flat_map(|marks| marks.lines.clone()).collect()
    }

    pub(super) fn ids(&self) -> Vec<ObservationId> {
        self.0.values().flat_map(|marks| marks.ids.clone()).collect()
    }

    fn of(&mut self, name: &BackendName) -> &mut Marks {
        self.0.entry(name.clone()).or_default()
    }
}

/// What speaks against each node, by cause.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) storage: Against,
    pub(super) databases: Against,
    pub(super) stale: Against,
    /// Nodes that do not know their own uploads.
    pub(super) own: Against,
    /// What shows that something is not shared, but not at which node.
    pub(super) unplaced: Marks,
    /// Whether something was seen to appear late, which nothing but a cache brings about.
    pub(super) late: bool,
}

impl Seen {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let mut seen = Self::default();
        let checks = &facts.round.checks;
        if let Some(content) = checks.content.measured() {
            seen.content(facts, content);
        }
        if let Some(uploads) = checks.upload.measured() {
            seen.uploads(facts, uploads);
        }
        if let Some(pushed) = checks.push.measured() {
            seen.pushes(facts, pushed);
        }
        // A database of its own comes with a storage of its own: that is one cause.
        for (name, marks) in &mut seen.databases.0 {
            let storage = seen.storage.0.remove(name).unwrap_or_default();
            marks.lines.extend(storage.lines);
            marks.ids.extend(storage.ids);
        }
        seen
    }

    /// Those of which it is known that they lack something.
    fn named(&self) -> Vec<BackendName> {
        self.storage.0.keys().chain(self.databases.0.keys()).cloned().collect()
    }

    fn content(&mut self, facts: &Facts<'_>, content: &Content) {
        let found = |at: &ContentAt| Some((at.backend.clone(), at.found.measured()?.clone()));
        let all: Vec<(BackendName, ContentFound)> = content.at.iter().filter_map(found).collect();
        let whole: Vec<&BackendName> =
            all.iter().filter(|(_, found)| content.is_whole(found)).map(|(name, _)| name).collect();
        // Content that no node has whole does not tell nodes apart.
        if whole.is_empty() {
            return;
        }
        for (name, found) in &all {
            let ids = facts.met(Check::Content, &place(name));
            let line = line(content, name, found, facts.round.checks.content.at);
            if found.healed_after_ms.is_some() {
                self.stale.of(name).add(line, ids);
                continue;
            }
            if content.is_whole(found) {
                continue;
            }
            let other = found.tagged.as_ref().is_some_and(|digest| *digest != content.digest);
            let descriptor = found.manifest && found.readable == Some(false);
            let into = if descriptor {
                &mut self.stale
            } else if !is_plain(facts, name) && (other || !found.listed) {
                &mut self.databases
            } else {
                &mut self.storage
            };
            into.of(name).add(line, ids);
            // Where half of the nodes differ, no one knows which half is right.
            if other && whole.len() * 2 == all.len() {
                for good in &whole {
                    into.of(good);
                }
            }
        }
    }

    fn uploads(&mut self, facts: &Facts<'_>, uploads: &Uploads) {
        // A node whose content is missing is at fault; no comparison is needed.
        let named = self.named();
        let at_fault = if named.is_empty() { stores(uploads).odd } else { named };
        let given = |pair: &'_ OfPair<UploadVerdict>| pair.value.measured().copied();
        for pair in &uploads.pairs {
            let (issuer, verifier) = (&pair.issuer, &pair.verifier);
            let ids = facts.met(Check::Upload, &Place::between(issuer, verifier));
            match given(pair) {
                Some(UploadVerdict::KnownLate { after_ms }) => {
                    let line = format!(
                        "{verifier}: an upload begun at {issuer} was unknown at first and known \
                         {after_ms} ms later"
                    );
                    // Behind one address there may be replicas, each with what it was given.
                    self.late |= issuer != verifier;
                    self.stale.of(verifier).add(line, ids);
                }
                Some(UploadVerdict::Unknown) => {
                    let line = format!(
                        "an upload begun at {issuer} is still BLOB_UPLOAD_UNKNOWN at {verifier} \
                         after 5 s"
                    );
                    let ends = [verifier, issuer];
                    let name = ends.into_iter().find(|name| at_fault.contains(name));
                    match name {
                        _ if !is_sound(uploads, issuer) => self.own.of(issuer).add(line, ids),
                        Some(name) => self.storage.of(name).add(line, ids),
                        None => self.unplaced.add(line, ids),
                    }
                }
                _ => {}
            }
        }
    }

    fn pushes(&mut self, facts: &Facts<'_>, pushed: &Pushed) {
        let runs = pushed.by.iter().filter_map(|by| Some((&by.route, by.value.measured()?)));
        let tag = format!("{}:{}", pushed.repository, pushed.tag);
        let named = self.named();
        for (route, seen) in
            runs.flat_map(|(route, run)| run.seen.iter().map(move |seen| (route, seen)))
        {
            self.look(facts, (route, seen), &tag, &named);
        }
    }

    /// What one node has of what was pushed over a route.
    fn look(
        &mut self,
        facts: &Facts<'_>,
        (route, seen): (&Route, &SeenAt),
        tag: &str,
        named: &[BackendName],
    ) {
        let name = &seen.backend;
        let issuer = Issuer::Route(route.clone());
        let verifier = Route::Backend(name.clone());
        let ids = facts.met(Check::Push, &Place::Pair { issuer, verifier });
        let other = match seen.value {
            Outcome::Measured(ReadBack::Late { after_ms }) => {
                let line =
                    format!("{name}: {tag} pushed over {route} was seen {after_ms} ms later");
                self.stale.of(name).add(line, ids);
                return;
            }
            Outcome::Measured(ReadBack::ManifestUnknown) => false,
            Outcome::Measured(ReadBack::Other) => true,
            _ => return,
        };
        let line = format!("{name}: {tag}, pushed over {route}, is missing");
        match route.backend() {
            _ if named.contains(name) => self.lacks(facts, name, other).add(line, ids),
            // Where a node keeps its content to itself, the others lack what it pushes.
            Some(by) if named.contains(by) => self.lacks(facts, by, other).add(line, ids),
            Some(_) => self.lacks(facts, name, other).add(line, ids),
            // Where the balancer led to is not known: that node may be the odd one.
            None => self.unplaced.add(line, ids),
        }
    }

    /// Where to note that a node lacks a push, or has another.
    fn lacks(&mut self, facts: &Facts<'_>, name: &BackendName, other: bool) -> &mut Marks {
        let database = self.databases.has(name) || (other && !is_plain(facts, name));
        if database { self.databases.of(name) } else { self.storage.of(name) }
    }
}

fn place(name: &BackendName) -> Place {
    Place::route(&Route::Backend(name.clone()))
}

/// Whether a node goes on with its own uploads.
fn is_sound(uploads: &Uploads, name: &BackendName) -> bool {
    let own = |pair: &&OfPair<UploadVerdict>| pair.issuer == *name && pair.verifier == *name;
    let mut own = uploads.pairs.iter().filter(own);
    own.any(|pair| pair.value.measured().is_some_and(|verdict| verdict.accepted()))
}

/// Nodes by the storage of their uploads.
fn stores(uploads: &Uploads) -> Division {
    Division::of(&uploads.pairs, Shared::EitherWay, |verdict| match verdict {
        UploadVerdict::Known | UploadVerdict::KnownLate { .. } => Some(true),
        UploadVerdict::Unknown => Some(false),
        UploadVerdict::Invalid => None,
    })
}

/// Whether all that a node has is in its storage: distribution has no database.
fn is_plain(facts: &Facts<'_>, name: &BackendName) -> bool {
    let family = facts.family_of(&Route::Backend(name.clone()));
    matches!(family, Family::Distribution2 | Family::Distribution3 | Family::Harbor1)
}

/// What a node has of the tag, in words.
fn line(
    content: &Content,
    name: &BackendName,
    found: &ContentFound,
    at: Option<DateTime<Utc>>,
) -> String {
    let Content { repository, tag, digest, .. } = content;
    let short = |digest: &str| digest.get(..19).unwrap_or(digest).to_owned();
    let mut parts = vec![format!("{name}: {repository}:{tag}")];
    if let Some(after) = found.healed_after_ms {
        parts.push(format!("was missing at first and appeared {after} ms later"));
        return parts.join(" ");
    }
    parts.push(if found.listed { "is listed" } else { "is not listed" }.to_owned());
    parts.push(match &found.tagged {
        Some(other) if other != digest => {
            format!("and is {}…, elsewhere {}…", short(other), short(digest))
        }
        Some(_) => format!("and is {}…", short(digest)),
        None => "and unknown by tag".to_owned(),
    });
    if !found.manifest {
        parts.push(format!("; manifest {}… is not there", short(digest)));
    }
    match (found.config, found.readable) {
        (Some(false), _) => parts.push("; its configuration blob is not there".to_owned()),
        (_, Some(false)) => {
            parts.push("; its configuration blob is known and cannot be read".to_owned());
        }
        _ => {}
    }
    if let (Some(since), Some(at)) = (found.since, at)
        && at > since
    {
        parts.push(format!("; seen for {} s", (at - since).num_seconds()));
    }
    parts.join(" ").replace(" ;", ";")
}

//! Content that one node has and another lacks (F2, F3, G3): by the canary at each of them, by
//! uploads, and by what was pushed at one and looked for at the others.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::case::{Case, Draft, Impact, list};
use super::uploads::{is_sound, odd, pairs};
use crate::model::{
    BackendName, Confidence, Content, ContentFound, Family, FindingName, OfPair, Outcome, Pushed,
    ReadBack, Reason, Route, Step, UploadVerdict, Uploads,
};

/// Facts against a node, by node.
type Against = BTreeMap<BackendName, Vec<String>>;

/// Storage that is not shared, or that shows late what was written.
pub(super) fn examine(case: &mut Case<'_>) {
    let seen = Seen::of(case);
    if !seen.storage.is_empty() {
        storage(case, seen.storage);
    }
    if !seen.stale.is_empty() {
        stale(case, seen.stale, seen.late);
    }
}

/// Databases that are not shared. After the rules that see the same by refused accounts, since it
/// is one cause.
pub(super) fn databases(case: &mut Case<'_>) {
    let against = Seen::of(case).databases;
    if against.is_empty() {
        return;
    }
    let names: Vec<BackendName> = against.keys().cloned().collect();
    let lines: Vec<String> = against.into_values().flatten().collect();
    let known = FindingName::ContentDiffers;
    if let Some(index) = case.findings.iter().position(|finding| finding.finding == known) {
        let finding = &mut case.findings[index];
        finding.confidence = Confidence::Proved;
        finding.alternatives.clear();
        finding.evidence.extend(lines);
        finding.backends.extend(names);
        finding.backends.sort();
        finding.backends.dedup();
        return;
    }
    case.add(
        Draft {
            name: known,
            confidence: Confidence::Proved,
            impact: Impact::Served("Pulls"),
            summary: if names.len() > 1 {
                format!("{} have other content under the same tag.", list(&names))
            } else {
                format!(
                    "{} has other content under the same tag than the other nodes.",
                    list(&names)
                )
            },
            backends: names,
            evidence: lines,
            alternatives: Vec::new(),
        },
        &[],
        &[],
    );
}

/// What speaks against each node.
#[derive(Default)]
struct Seen {
    storage: Against,
    databases: Against,
    stale: Against,
    /// Whether something was seen to appear late, which nothing but a cache brings about.
    late: bool,
}

impl Seen {
    fn of(case: &Case<'_>) -> Self {
        let mut seen = Self::default();
        if let Some(content) = case.round.checks.content.measured() {
            seen.content(case, content);
        }
        if let Some(uploads) = case.round.checks.upload.measured() {
            seen.uploads(uploads);
        }
        if let Some(pushed) = case.round.checks.push.measured() {
            seen.pushes(case, pushed);
        }
        // A database of its own comes with a storage of its own: that is one cause.
        for name in seen.databases.keys().cloned().collect::<Vec<_>>() {
            let lines = seen.storage.remove(&name).unwrap_or_default();
            seen.databases.entry(name).or_default().extend(lines);
        }
        seen
    }

    fn uploads(&mut self, uploads: &Uploads) {
        let other = |pair: &OfPair<UploadVerdict>| {
            pair.issuer != pair.verifier && is_sound(uploads, &pair.issuer)
        };
        let unknown: Vec<&OfPair<UploadVerdict>> = pairs(uploads)
            .filter(|(pair, verdict)| *verdict == UploadVerdict::Unknown && other(pair))
            .map(|(pair, _)| pair)
            .collect();
        for (pair, verdict) in pairs(uploads).filter(|(pair, _)| other(pair)) {
            if let UploadVerdict::KnownLate { after_ms } = verdict {
                self.late = true;
                let line = format!(
                    "{}: an upload begun at {} was unknown at first and known {after_ms} ms later",
                    pair.verifier, pair.issuer
                );
                self.stale.entry(pair.verifier.clone()).or_default().push(line);
            }
        }
        if unknown.is_empty() {
            return;
        }
        // Whose content is known to be missing is known without comparing.
        let named: Vec<BackendName> =
            self.storage.keys().chain(self.databases.keys()).cloned().collect();
        let (odd, _) = odd(uploads, |_, _| false);
        let guilty = if named.is_empty() { odd } else { named };
        for pair in unknown {
            let line = format!(
                "an upload begun at {} is BLOB_UPLOAD_UNKNOWN at {} for 5 s",
                pair.issuer, pair.verifier
            );
            let ends = [&pair.verifier, &pair.issuer];
            let Some(name) = ends.into_iter().find(|name| guilty.contains(name)) else { continue };
            self.storage.entry(name.clone()).or_default().push(line);
        }
    }

    fn pushes(&mut self, case: &Case<'_>, pushed: &Pushed) {
        let runs = pushed.by.iter().filter_map(|by| Some((&by.route, by.value.measured()?)));
        let looks = runs.flat_map(|(route, run)| run.seen.iter().map(move |seen| (route, seen)));
        let looks: Vec<_> = looks.collect();
        let tag = format!("{}:{}", pushed.repository, pushed.tag);
        // A node that lacks what others push makes the others lack what it pushes.
        let named: Vec<BackendName> =
            self.storage.keys().chain(self.databases.keys()).cloned().collect();
        for (route, seen) in looks {
            let name = &seen.backend;
            // Where the balancer led to is not known: that node may be the odd one.
            let elsewhere = route.backend().is_none_or(|by| named.contains(by));
            match seen.value {
                Outcome::Measured(ReadBack::Late { after_ms }) => {
                    let line =
                        format!("{name}: {tag} pushed over {route} was seen {after_ms} ms later");
                    self.stale.entry(name.clone()).or_default().push(line);
                }
                Outcome::Measured(ReadBack::ManifestUnknown | ReadBack::Other)
                    if !elsewhere || named.contains(name) =>
                {
                    let other = matches!(seen.value, Outcome::Measured(ReadBack::Other));
                    let line = format!("{name}: {tag} pushed over {route} is not there");
                    let into = if other && !is_plain(case, name) {
                        &mut self.databases
                    } else {
                        &mut self.storage
                    };
                    into.entry(name.clone()).or_default().push(line);
                }
                _ => {}
            }
        }
    }

    fn content(&mut self, case: &Case<'_>, content: &Content) {
        let found = |at: &'_ crate::model::ContentAt| match &at.found {
            Outcome::Measured(found) => Some((at.backend.clone(), found.clone())),
            _ => None,
        };
        let all: Vec<(BackendName, ContentFound)> = content.at.iter().filter_map(found).collect();
        // What nobody has was deleted, and is split nowhere.
        if !all.iter().any(|(_, found)| content.is_whole(found)) {
            return;
        }
        let whole = all.iter().filter(|(_, found)| content.is_whole(found)).count();
        for (name, found) in &all {
            let line = line(content, name, found, case.round.checks.content.at);
            if found.healed_after_ms.is_some() {
                self.stale.entry(name.clone()).or_default().push(line);
                continue;
            }
            if content.is_whole(found) {
                continue;
            }
            let harbor = !is_plain(case, name);
            let other = found.tagged.as_ref().is_some_and(|digest| *digest != content.digest);
            let descriptor = found.manifest && found.readable == Some(false);
            let into = if descriptor {
                &mut self.stale
            } else if harbor && (other || !found.listed) {
                &mut self.databases
            } else {
                &mut self.storage
            };
            into.entry(name.clone()).or_default().push(line);
            // Of two that differ nobody knows which is right.
            if other && whole * 2 == all.len() {
                for (good, _) in all.iter().filter(|(_, found)| content.is_whole(found)) {
                    into.entry(good.clone()).or_default();
                }
            }
        }
    }
}

fn is_plain(case: &Case<'_>, name: &BackendName) -> bool {
    let family = case.family_of(&Route::Backend(name.clone()));
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
        parts.push(format!("was not there at first and was {after} ms later"));
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
        parts.push(format!("; so for {} s", (at - since).num_seconds()));
    }
    parts.join(" ").replace(" ;", ";")
}

fn storage(case: &mut Case<'_>, against: Against) {
    let names: Vec<BackendName> = against.keys().cloned().collect();
    let mut evidence: Vec<String> = against.into_values().flatten().collect();
    evidence.push("looked for again, and still missing".to_owned());
    let flows = lost_repositories(case, &names);
    case.add(
        Draft {
            name: FindingName::StorageNotShared,
            confidence: Confidence::Proved,
            impact: Impact::Served("Pulls"),
            summary: format!(
                "{} lacks content that other nodes have in their storage.",
                list(&names)
            ),
            backends: names,
            evidence,
            alternatives: Vec::new(),
        },
        &[],
        &flows,
    );
}

/// The flows that failed only because the repository is not there: those of these backends, and
/// the balancer's, which led to one of them.
fn lost_repositories(case: &Case<'_>, names: &[BackendName]) -> Vec<usize> {
    let lost = |flow: &crate::model::Flow| {
        flow.failure().is_some_and(|(step, failure)| {
            step == Step::Repository && failure.reason == Reason::NotFound
        })
    };
    let here = |route: &Route| route.backend().is_none_or(|name| names.contains(name));
    let open = case.open_flows().into_iter();
    open.filter(|(_, flow)| lost(flow) && here(&flow.route)).map(|(index, _)| index).collect()
}

fn stale(case: &mut Case<'_>, against: Against, late: bool) {
    let names: Vec<BackendName> = against.keys().cloned().collect();
    let alternatives = if late {
        Vec::new()
    } else {
        vec![FindingName::ContentDiffers, FindingName::StorageNotShared]
    };
    case.add(
        Draft {
            name: FindingName::StorageStaleReads,
            confidence: if late { Confidence::Proved } else { Confidence::Suspected },
            impact: Impact::Served("What was just pushed"),
            summary: format!(
                "{} does not see what the storage holds, or sees it late: a cache is stale.",
                list(&names)
            ),
            backends: names,
            evidence: against.into_values().flatten().collect(),
            alternatives,
        },
        &[],
        &[],
    );
}

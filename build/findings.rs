//! Makes the closed list of findings from their pages in `deploy/runbooks`.
//!
//! A page begins with its facts, YAML between lines of `---`, and goes on as the runbook that people
//! read. `src/findings/mod.rs` says what the facts mean.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The groups, in the order in which findings are listed: key, and title.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("signing-keys", "Signing keys"),
    ("time", "Time"),
    ("balancer-dns-urls", "Load balancer, DNS and URLs"),
    ("credentials", "Credentials and accounts"),
    ("web-state", "State of the web interface"),
    ("storage", "Storage and uploads"),
    ("jobs-redis", "Replication, jobs, Redis"),
    ("network", "TLS and network"),
    ("capacity", "Capacity and limits"),
    ("versions", "Versions and settings"),
    ("unexplained", "Unexplained"),
];

/// The pages of a folder.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// By group and code, those without a code last.
    findings: Vec<Page<Finding>>,
    /// By name.
    alerts: Vec<Page<Alert>>,
}

/// A page with what it says on top.
#[derive(Debug)]
struct Page<Facts> {
    /// The name of its file, without `.md`.
    name: String,
    facts: Facts,
    /// What people read.
    body: String,
}

/// The facts of a finding.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finding {
    group: String,
    code: Option<String>,
    meaning: String,
    severity: String,
    at_best: String,
    shown_by: String,
    confirm: String,
    remedies: Vec<Remedy>,
}

/// One thing to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remedy {
    /// The installation that it is for; all if it is left out.
    #[serde(default, rename = "for")]
    setup: Setup,
    /// Where the cause has to lie for it to help; anywhere if it is left out.
    #[serde(default)]
    at: Where,
    text: String,
    /// Commands to copy, one a line.
    #[serde(default)]
    commands: String,
}

/// A variant of `Setup` in `src/findings/mod.rs`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Setup {
    #[default]
    Any,
    Harbor,
    Compose,
    Helm,
    Distribution,
}

/// A variant of `Where` in `src/findings/mod.rs`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Where {
    #[default]
    Anywhere,
    Nodes,
    SomeNodes,
    EveryNode,
    Balancer,
    Prober,
}

/// The facts of an alert that is no finding.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    meaning: String,
}

impl<Facts: DeserializeOwned> Page<Facts> {
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let facts_and_body = text.strip_prefix("---\n").and_then(|it| it.split_once("\n---\n"));
        let Some((facts, body)) = facts_and_body else {
            return Err(format!("{name}.md begins with no facts between lines of ---"));
        };
        // An empty first line stands for the `---`, so that an error names the line of the page.
        let facts = serde_saphyr::from_str(&format!("\n{facts}"))
            .map_err(|error| format!("{name}.md: {error}"))?;
        Ok(Self { name: name.to_owned(), facts, body: body.trim_start_matches('\n').to_owned() })
    }
}

impl Finding {
    /// Where its group stands.
    fn place(&self) -> Option<usize> {
        GROUPS.iter().position(|(key, _)| *key == self.group)
    }
}

/// Reads every page of a folder. The name of an alert begins with a capital letter.
///
/// # Errors
/// What is wrong with a page, or the reason for which the folder cannot be read.
pub(crate) fn pages(folder: &Path) -> Result<Pages, String> {
    let unread = |error| format!("{}: {error}", folder.display());
    let mut pages = Pages::default();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "README" || path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            pages.alerts.push(Page::parse(name, &text)?);
            continue;
        }
        let page = Page::<Finding>::parse(name, &text)?;
        if page.facts.place().is_none() || page.facts.remedies.is_empty() {
            return Err(format!("{name}.md needs remedies, and a group of {GROUPS:?}"));
        }
        pages.findings.push(page);
    }
    pages.alerts.sort_by(|a, b| a.name.cmp(&b.name));
    pages.findings.sort_by_key(|page| {
        let code = page.facts.code.clone();
        (page.facts.place(), code.is_none(), code, page.name.clone())
    });
    Ok(pages)
}

/// The Rust source of the lists.
pub(crate) fn source(Pages { findings, alerts }: &Pages) -> String {
    let mut text = String::new();
    groups(&mut text);
    text.push_str(
        "/// The name of a cause, as the metrics, the journal and the runbooks call it.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, \
         JsonSchema)]\npub enum FindingName {\n",
    );
    for page in findings {
        let (doc, name) = (&page.facts.meaning, &page.name);
        let variant = camel(name);
        // Writing to a String does not fail.
        let _ = writeln!(text, "#[doc = {doc:?}] #[serde(rename = {name:?})] {variant},");
    }
    text.push_str("}\nimpl FindingName {\n/// Every name, by group and code.\n");
    let variants: Vec<String> =
        findings.iter().map(|page| format!("Self::{}", camel(&page.name))).collect();
    let _ = writeln!(text, "pub const ALL: &'static [Self] = &[{}];\n}}", variants.join(", "));
    let _ = writeln!(text, "static DEFINITIONS: [Definition; {}] = [", findings.len());
    for page in findings {
        definition(&mut text, page);
    }
    let _ = writeln!(text, "];\nstatic ALERTS: [AlertPage; {}] = [", alerts.len());
    for page in alerts {
        let (name, meaning, body) = (&page.name, &page.facts.meaning, &page.body);
        let _ =
            writeln!(text, "AlertPage {{ name: {name:?}, meaning: {meaning:?}, page: {body:?} }},");
    }
    text.push_str("];\n");
    text
}

fn groups(text: &mut String) {
    text.push_str(
        "/// What a finding is about.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]\npub enum Group {\n",
    );
    for (key, title) in GROUPS {
        let _ = writeln!(text, "#[doc = {title:?}] {},", camel(key));
    }
    let all: Vec<String> = GROUPS.iter().map(|(key, _)| format!("Self::{}", camel(key))).collect();
    let _ = writeln!(
        text,
        "}}\nimpl Group {{\n/// Every group, in the order of the lists.\n\
         pub const ALL: [Self; {}] = [{}];\n/// Its heading.\n\
         pub fn title(self) -> &'static str {{\nmatch self {{",
        GROUPS.len(),
        all.join(", ")
    );
    for (key, title) in GROUPS {
        let _ = writeln!(text, "Self::{} => {title:?},", camel(key));
    }
    text.push_str("}\n}\n}\n");
}

fn definition(text: &mut String, Page { name, facts, body }: &Page<Finding>) {
    let Finding { code, meaning, severity, at_best, shown_by, confirm, .. } = facts;
    let group = camel(&facts.group);
    let _ = writeln!(
        text,
        "Definition {{ name: {name:?}, group: Group::{group}, code: {code:?}, \
         meaning: {meaning:?}, severity: {severity:?}, at_best: {at_best:?}, \
         shown_by: {shown_by:?}, confirm: {confirm:?}, page: {body:?}, remedies: &["
    );
    for Remedy { setup, at, text: what, commands } in &facts.remedies {
        let commands: Vec<&str> = commands.lines().collect();
        let _ = writeln!(
            text,
            "Remedy {{ setup: Setup::{setup:?}, at: Where::{at:?}, text: {what:?}, \
             commands: &{commands:?} }},"
        );
    }
    text.push_str("] },\n");
}

/// `token-key-mismatch` as the name of a variant.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect()
}

//! Makes the closed list of findings from their pages in `deploy/runbooks`.
//!
//! A page begins with its facts, a few lines of YAML between `---`, and goes on as the runbook that
//! people read. What the facts mean is said in `src/findings/mod.rs`. Only the forms of YAML that
//! the pages need are read here: `key: text`, folded (`>-`) and literal (`|-`) blocks, and the list
//! of remedies. The test `tests/it/findings.rs` reads them with a whole parser and compares.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

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

/// What a page says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The name of its file, without `.md`.
    pub(crate) name: String,
    /// The facts with one text each: key and text, in the order of the page.
    pub(crate) facts: Vec<(String, String)>,
    /// What to do, best first.
    pub(crate) remedies: Vec<Remedy>,
    /// What people read.
    pub(crate) body: String,
}

/// One thing to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Remedy {
    /// The installation that it is for; empty for all.
    pub(crate) setup: String,
    /// The sentence.
    pub(crate) text: String,
    /// Commands to copy.
    pub(crate) commands: Vec<String>,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let facts_and_body = text.strip_prefix("---\n").and_then(|it| it.split_once("\n---\n"));
        let Some((facts, body)) = facts_and_body else {
            return Err(format!("{name}.md begins with no facts between lines of ---"));
        };
        let mut page = Self {
            name: name.to_owned(),
            facts: Vec::new(),
            remedies: Vec::new(),
            body: body.trim_start_matches('\n').to_owned(),
        };
        let lines: Vec<&str> = facts.lines().collect();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let wrong = |what: &str| format!("{name}.md:{}: {what}: {line}", at + 2);
            // A remedy begins behind a dash; its other keys stand below its first.
            let (line, new) = match line.strip_prefix("  - ") {
                Some(rest) => (format!("    {rest}"), true),
                None => ((*line).to_owned(), false),
            };
            let indent = line.len() - line.trim_start().len();
            let (key, value) = line.trim().split_once(':').ok_or_else(|| wrong("no key"))?;
            let deeper = |line: &&&str| line.len() - line.trim_start().len() > indent;
            let block: Vec<&str> =
                lines[at + 1..].iter().take_while(deeper).map(|line| line.trim()).collect();
            let (value, used) = match value.trim() {
                ">-" => (block.join(" "), block.len()),
                "|-" => (block.join("\n"), block.len()),
                value => (value.to_owned(), 0),
            };
            if value.is_empty() != (key == "remedies") {
                return Err(wrong("one text is expected"));
            }
            if new {
                page.remedies.push(Remedy::default());
            }
            match (indent, key) {
                (0, "remedies") => {}
                (0, _) => page.facts.push((key.to_owned(), value)),
                (4, _) => {
                    let remedy = page.remedies.last_mut().ok_or_else(|| wrong("no remedy"))?;
                    match key {
                        "for" => remedy.setup = value,
                        "text" => remedy.text = value,
                        "commands" => remedy.commands = value.lines().map(str::to_owned).collect(),
                        _ => return Err(wrong("for, text or commands is expected")),
                    }
                }
                _ => return Err(wrong("it stands too far to the right or left")),
            }
            at += 1 + used;
        }
        Ok(page)
    }

    /// A fact; empty if the page has none of that name.
    pub(crate) fn fact(&self, key: &str) -> &str {
        self.facts.iter().find(|(known, _)| known == key).map_or("", |(_, text)| text)
    }

    /// Whether it is the page of an alert and of no finding.
    fn is_alert(&self) -> bool {
        self.name.starts_with(|letter: char| letter.is_ascii_uppercase())
    }

    /// What a finding's page lacks, or says in vain.
    fn check(&self) -> Result<(), String> {
        const NEEDED: [&str; 6] =
            ["group", "meaning", "severity", "at_best", "shown_by", "confirm"];
        let name = &self.name;
        let needed: &[&str] = if self.is_alert() { &["meaning"] } else { &NEEDED };
        if let Some(key) = needed.iter().find(|key| self.fact(key).is_empty()) {
            return Err(format!("{name}.md lacks {key}"));
        }
        let known = |key: &str| needed.contains(&key) || (key == "code" && !self.is_alert());
        if let Some((key, _)) = self.facts.iter().find(|(key, _)| !known(key)) {
            return Err(format!("{name}.md: {key} is no fact of a page; there are {needed:?}"));
        }
        if !self.is_alert() && (self.remedies.is_empty() || self.place().is_none()) {
            return Err(format!("{name}.md needs remedies, and a group of {GROUPS:?}"));
        }
        match self.remedies.iter().find(|remedy| remedy.text.is_empty()) {
            Some(remedy) => Err(format!("{name}.md: a remedy without text: {remedy:?}")),
            None => Ok(()),
        }
    }

    /// Where its group stands.
    fn place(&self) -> Option<usize> {
        GROUPS.iter().position(|(key, _)| *key == self.fact("group"))
    }
}

/// Reads every page of a folder: findings by group and code, those without a code last, then
/// alerts by name.
///
/// # Errors
/// What is wrong with a page, or the reason for which the folder cannot be read.
pub(crate) fn pages(folder: &Path) -> Result<Vec<Page>, String> {
    let read = |path: &Path| -> io::Result<String> { fs::read_to_string(path) };
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "README" || path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let page = Page::parse(name, &text)?;
        page.check()?;
        pages.push(page);
    }
    pages.sort_by_key(|page| {
        let code = page.fact("code").to_owned();
        (page.is_alert(), page.place(), code.is_empty(), code, page.name.clone())
    });
    Ok(pages)
}

/// The Rust source of the lists.
pub(crate) fn source(pages: &[Page]) -> String {
    let mut text = String::new();
    let (alerts, findings): (Vec<&Page>, Vec<&Page>) =
        pages.iter().partition(|page| page.is_alert());
    groups(&mut text);
    text.push_str(
        "/// The name of a cause, as the metrics, the journal and the runbooks call it.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, \
         JsonSchema)]\npub enum FindingName {\n",
    );
    for page in &findings {
        let (doc, name) = (page.fact("meaning"), &page.name);
        let variant = camel(name);
        // Writing to a String does not fail.
        let _ = writeln!(text, "#[doc = {doc:?}] #[serde(rename = {name:?})] {variant},");
    }
    text.push_str("}\nimpl FindingName {\n/// Every name, by group and code.\n");
    let variants: Vec<String> =
        findings.iter().map(|page| format!("Self::{}", camel(&page.name))).collect();
    let _ = writeln!(text, "pub const ALL: &'static [Self] = &[{}];\n}}", variants.join(", "));
    let _ = writeln!(text, "static DEFINITIONS: [Definition; {}] = [", findings.len());
    for page in &findings {
        definition(&mut text, page);
    }
    let _ = writeln!(text, "];\nstatic ALERTS: [AlertPage; {}] = [", alerts.len());
    for page in &alerts {
        let (name, meaning, body) = (&page.name, page.fact("meaning"), &page.body);
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

fn definition(text: &mut String, page: &Page) {
    let code = match page.fact("code") {
        "" => "None".to_owned(),
        code => format!("Some({code:?})"),
    };
    let _ = writeln!(
        text,
        "Definition {{ name: {:?}, group: Group::{}, code: {code}, meaning: {:?}, severity: {:?}, \
         at_best: {:?}, shown_by: {:?}, confirm: {:?}, page: {:?}, remedies: &[",
        page.name,
        camel(page.fact("group")),
        page.fact("meaning"),
        page.fact("severity"),
        page.fact("at_best"),
        page.fact("shown_by"),
        page.fact("confirm"),
        page.body,
    );
    for Remedy { setup, text: what, commands } in &page.remedies {
        let setup = if setup.is_empty() { "Any".to_owned() } else { camel(setup) };
        let _ = writeln!(
            text,
            "Remedy {{ setup: Setup::{setup}, text: {what:?}, commands: &{commands:?} }},"
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

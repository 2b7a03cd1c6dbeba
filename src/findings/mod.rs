//! One place for each finding: `deploy/runbooks/NAME.md`, its facts on top and its page below.
//!
//! `build/findings.rs` makes [`FindingName`], [`Group`] and the list of [`Definition`]s from these
//! pages. Everything that speaks of findings in general reads them here: the remedies of a report,
//! `explain`, `/runbooks/`, the JSON Schema, the index of the runbooks and `deploy/modes.md`.
//!
//! The facts of a page:
//!
//! | fact | says |
//! | --- | --- |
//! | `group` | what it is about, a key of `GROUPS` in `build/findings.rs` |
//! | `code` | its place in the table of failure modes, such as `A1`; left out where it has none |
//! | `meaning` | what is wrong, in one line |
//! | `severity` | when it is critical, a warning or info |
//! | `at_best` | the confidence that the evidence can give |
//! | `shown_by` | what shows it from outside |
//! | `confirm` | what would confirm it at a node |
//! | `remedies` | what to do, best first: `text`, `commands`, `for` where it is for one installation only, and `at` where it helps only if the cause lies there (`nodes`, `some-nodes`, `every-node`, `balancer`, `prober`) |

mod lookup;

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

pub use lookup::{ELSEWHERE, Runbook, nearest};

include!(concat!(env!("OUT_DIR"), "/findings.rs"));

/// What is known of a finding in general.
#[derive(Debug)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub group: Group,
    /// Its place in the table of failure modes (`deploy/modes.md`), if it has one.
    pub code: Option<&'static str>,
    /// What is wrong, in one line.
    pub meaning: &'static str,
    /// When it is critical, a warning or info.
    pub severity: &'static str,
    /// The confidence that the evidence can give.
    pub at_best: &'static str,
    /// What shows it from outside.
    pub shown_by: &'static str,
    /// What would confirm it at a node.
    pub confirm: &'static str,
    /// What to do, best first.
    pub remedies: &'static [Remedy],
    /// The runbook, in Markdown.
    pub page: &'static str,
}

/// One thing to do.
#[derive(Debug)]
pub struct Remedy {
    /// The installation that it is for.
    pub setup: Setup,
    /// Where the cause has to lie for it to help.
    pub at: Where,
    /// What to do, in a sentence.
    pub text: &'static str,
    /// Commands to copy, one a line.
    pub commands: &'static [&'static str],
}

/// Where a cause lies, as far as remedies differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Anywhere.
    Anywhere,
    /// At nodes, some or all of them.
    Nodes,
    /// At the nodes that the finding names; the others are sound.
    SomeNodes,
    /// Not at single nodes.
    EveryNode,
    /// At the load balancer.
    Balancer,
    /// At the prober.
    Prober,
}

/// Which registry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Harbor of any version.
    Harbor,
    /// distribution without Harbor.
    Distribution,
}

/// How a registry is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// In any way.
    Any,
    /// Harbor, in either way.
    Harbor,
    /// Harbor by its offline installer, which is docker compose.
    Compose,
    /// Harbor by its Helm chart.
    Helm,
    /// Plain distribution.
    Distribution,
}

impl Setup {
    /// Whether it can be an installation of a product.
    pub fn is_of(self, product: Product) -> bool {
        match self {
            Self::Any => true,
            Self::Harbor | Self::Compose | Self::Helm => product == Product::Harbor,
            Self::Distribution => product == Product::Distribution,
        }
    }

    /// The installations that a remedy is for, where it is not for all.
    pub fn title(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Harbor => Some("Harbor"),
            Self::Compose => Some("Harbor, offline installer"),
            Self::Helm => Some("Harbor, Helm chart"),
            Self::Distribution => Some("Plain distribution"),
        }
    }
}

/// The page of an alert that is no finding.
#[derive(Debug)]
pub struct AlertPage {
    /// The alert's name.
    pub name: &'static str,
    /// What it says, in one line.
    pub meaning: &'static str,
    /// The runbook, in Markdown.
    pub page: &'static str,
}

/// The alerts that have a page of their own, by name.
pub fn alerts() -> &'static [AlertPage] {
    &ALERTS
}

impl FindingName {
    /// What is known of it in general.
    pub fn definition(self) -> &'static Definition {
        &DEFINITIONS[self as usize]
    }

    /// The kebab-case name: label value, JSON value and name of the page.
    pub fn as_str(self) -> &'static str {
        self.definition().name
    }

    /// The finding of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|finding| finding.as_str() == name)
    }
}

impl fmt::Display for FindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

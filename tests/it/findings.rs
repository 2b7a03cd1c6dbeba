//! Each finding's page is the one place for what is known of it: the program, the index and the
//! table of failure modes say what the page says.

#[allow(dead_code, reason = "the build script uses all of it")]
#[path = "../../build/findings.rs"]
mod pages;

use std::fmt::Write as _;
use std::fs;

use registry_prober::findings::{self, FindingName, Group, Product};

use crate::support::written::is_written;

/// Harbor's own causes: there is nothing to do about them where Harbor does not run.
const HARBORS_OWN: [&str; 4] = [
    "component-unhealthy",
    "core-registry-password-mismatch",
    "foreign-jobservice-on-shared-redis",
    "redis-unavailable",
];

#[test]
fn every_fact_is_a_sentence_and_fits_a_table() {
    for finding in FindingName::ALL {
        let of = finding.definition();
        for text in [of.meaning, of.severity, of.shown_by, of.confirm] {
            assert!(text.ends_with('.') && !text.contains(" | "), "{finding}: {text}");
        }
        assert!(of.meaning.chars().count() <= 90, "{finding}: {}", of.meaning);
    }
}

#[test]
fn there_is_something_to_do_about_every_finding_wherever_it_can_occur() {
    for finding in FindingName::ALL {
        let fits = |product: Product| {
            finding.definition().remedies.iter().any(|remedy| remedy.setup.is_of(product))
        };
        assert!(fits(Product::Harbor), "{finding}");
        let own = HARBORS_OWN.contains(&finding.as_str());
        assert!(fits(Product::Distribution) || own, "{finding} on plain distribution");
    }
}

#[test]
fn the_index_is_written_from_the_pages() {
    let mut part = String::new();
    for group in Group::ALL {
        let _ = write!(part, "\n### {}\n\n| page | says |\n| --- | --- |\n", group.title());
        for name in FindingName::ALL.iter().filter(|name| name.definition().group == group) {
            let _ = writeln!(part, "| [{name}]({name}.md) | {} |", name.definition().meaning);
        }
    }
    part.push_str(
        "\n## Alerts\n\nThe alert RegistryFinding leads to the page of its finding; the others \
         have their own.\n\n| page | says |\n| --- | --- |\n",
    );
    for findings::AlertPage { name, meaning, .. } in findings::alerts() {
        let _ = writeln!(part, "| [{name}]({name}.md) | {meaning} |");
    }
    is_written("deploy/runbooks/README.md", "the list", &part);
}

#[test]
fn a_page_that_says_too_little_or_too_much_ends_the_build_with_its_name() {
    const FACTS: &str = "group: time\nmeaning: M.\nseverity: S.\nat_best: proved\n\
                         shown_by: >-\n  It\n  shows.\nconfirm: C.\nremedies:\n  - text: Do it.\n";
    let folder = tempfile::tempdir().unwrap();
    let built = |facts: &str| {
        fs::write(folder.path().join("a-b.md"), format!("---\n{facts}---\n\n# a-b\n")).unwrap();
        pages::pages(folder.path())
    };
    let right = pages::source(&built(FACTS).unwrap());
    for part in ["AB,", "shown_by: \"It shows.\"", "page: \"# a-b\\n\"", "Setup::Any"] {
        assert!(right.contains(part), "{part}: {right}");
    }
    for (facts, complaint) in [
        (FACTS.replace("severity: S.\n", ""), "severity"),
        (FACTS.replace("group: time", "group: space"), "a group of"),
        (FACTS.replace("confirm:", "colour: red\nconfirm:"), "colour"),
        (FACTS.replace("meaning: M.", "meaning"), "line 3"),
        (FACTS.replace("text: Do it.", "to do: it"), "to do"),
        (FACTS.replace("text: Do it.", "for: swarm\n    text: Do it."), "swarm"),
        (FACTS.replace("remedies:\n  - text: Do it.\n", "remedies: []\n"), "needs remedies"),
        (String::new(), "no facts"),
    ] {
        let error = built(&facts).unwrap_err();
        assert!(error.contains("a-b.md") && error.contains(complaint), "{complaint}: {error}");
    }
}

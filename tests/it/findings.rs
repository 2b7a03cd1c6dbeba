//! Each finding's page is the one place for what is known of it: the program, the index and the
//! table of failure modes say what the page says.

#[allow(dead_code, reason = "the build script uses all of it")]
#[path = "../../build/findings.rs"]
mod pages;

use std::fmt::Write as _;
use std::fs;

use registry_prober::findings::{self, FindingName, Group, Product};
use serde_json::Value;

use self::pages::Page;
use crate::operations::repository;

/// What stands between these lines of a file is written by a test.
const BEGIN: &str =
    "<!-- written from the pages of the findings, UPDATE=1 cargo test --test it -->\n";
const END: &str = "<!-- end -->\n";

/// Harbor's own causes: there is nothing to do about them where Harbor does not run.
const HARBORS_OWN: [&str; 4] = [
    "component-unhealthy",
    "core-registry-password-mismatch",
    "foreign-jobservice-on-shared-redis",
    "redis-unavailable",
];

/// Compares the written part of a file with what it should be, or writes it where `UPDATE` is set.
pub(crate) fn is_written(path: &str, part: &str) {
    let file = repository(path);
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where it begins");
    let (written, after) = rest.split_once(END).expect("where it ends");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, format!("{before}{BEGIN}{part}{END}{after}")).unwrap();
        return;
    }
    assert!(written == part, "{path} is out of date; UPDATE=1 writes it anew:\n{part}");
}

fn facts(name: &str) -> Value {
    let text = fs::read_to_string(repository(&format!("deploy/runbooks/{name}.md"))).unwrap();
    let (facts, _) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    serde_saphyr::from_str(facts).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_program_has_the_facts_as_a_yaml_parser_reads_them() {
    for finding in FindingName::ALL {
        let (of, facts) = (finding.definition(), facts(finding.as_str()));
        for (key, text) in [
            ("meaning", of.meaning),
            ("severity", of.severity),
            ("at_best", of.at_best),
            ("shown_by", of.shown_by),
            ("confirm", of.confirm),
            ("code", of.code.unwrap_or_default()),
        ] {
            assert_eq!(facts[key].as_str().unwrap_or_default(), text, "{finding}: {key}");
        }
        let remedies = facts["remedies"].as_array().unwrap();
        assert_eq!(remedies.len(), of.remedies.len(), "{finding}");
        for (fact, remedy) in remedies.iter().zip(of.remedies) {
            assert_eq!(fact["text"], remedy.text, "{finding}");
            let commands = fact["commands"].as_str().unwrap_or_default();
            assert_eq!(commands.lines().collect::<Vec<_>>(), remedy.commands, "{finding}");
            let setup = format!("{:?}", remedy.setup).to_lowercase();
            assert_eq!(fact["for"].as_str().unwrap_or("any"), setup, "{finding}");
        }
    }
    for alert in findings::alerts() {
        assert_eq!(facts(alert.name)["meaning"], alert.meaning);
    }
}

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
    is_written("deploy/runbooks/README.md", &part);
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
    let right = built(FACTS).unwrap();
    assert_eq!(right[0].fact("shown_by"), "It shows.");
    assert_eq!(right[0].body, "# a-b\n");
    for (facts, complaint) in [
        (FACTS.replace("severity: S.\n", ""), "a-b.md lacks severity"),
        (FACTS.replace("group: time", "group: space"), "a group of"),
        (FACTS.replace("confirm:", "colour: red\nconfirm:"), "colour is no fact"),
        (FACTS.replace("meaning: M.", "meaning"), "a-b.md:3: no key: meaning"),
        (FACTS.replace("text: Do it.", "to do: it"), "a-b.md:11: for, text or commands"),
        (FACTS.replace("  - text: Do it.\n", ""), "needs remedies"),
        (FACTS.replace("  - text", "  text"), "too far to the right"),
    ] {
        let error = built(&facts).unwrap_err();
        assert!(error.contains(complaint), "{complaint}: {error}");
    }
    let error = Page::parse("a-b", "# a-b\n").unwrap_err();
    assert!(error.contains("no facts"), "{error}");
}

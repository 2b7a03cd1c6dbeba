//! The README keeps its promises: its configuration is valid, its links lead somewhere, its
//! numbers of things are right.

use std::fs;

use registry_prober::config;
use registry_prober::lab::Scenario;

use crate::operations::repository;

fn readme() -> String {
    fs::read_to_string(repository("README.md")).unwrap()
}

#[test]
fn its_configuration_is_valid() {
    let text = readme();
    let (_, block) = text.split_once("```yaml\n").expect("a configuration");
    let (block, _) = block.split_once("```").expect("its end");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "secret").unwrap();
    let file = folder.path().join("prober.yml");
    fs::write(&file, block).unwrap();
    config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn its_links_lead_to_files() {
    for target in readme().split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(repository(target).exists(), "{target}");
    }
}

#[test]
fn it_names_as_many_scenarios_as_there_are() {
    let count = Scenario::all().unwrap().len();
    assert!(readme().contains(&format!("names {count} scenarios")), "{count}");
}

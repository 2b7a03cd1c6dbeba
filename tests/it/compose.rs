//! The compose files: what they mount is there, and the commands of the demo work together.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::operations::repository;
use crate::support::eventually;
use crate::support::program::{Running, get, program, run};

const FOLDER: &str = "deploy/compose";

fn services(file: &str) -> Value {
    let text = fs::read_to_string(repository(&format!("{FOLDER}/{file}"))).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    file["services"].clone()
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_path_is_there_every_image_has_a_version_and_every_port_is_on_loopback() {
    for file in ["compose.yml", "demo.yml"] {
        let services = services(file);
        for (name, service) in services.as_object().unwrap() {
            for volume in list(&service["volumes"]).into_iter().filter(|it| it.starts_with('.')) {
                let source = volume.split(':').next().unwrap();
                let path = repository(&format!("{FOLDER}/{source}"));
                assert!(path.exists(), "{file}: {name}: {source} is missing");
            }
            if let Some(build) = service["build"].as_object() {
                let context = repository(FOLDER).join(build["context"].as_str().unwrap());
                assert!(context.join(build["dockerfile"].as_str().unwrap()).is_file());
            }
            let image = service["image"].as_str().unwrap();
            assert!(image == "registry-prober" || image.contains(':'), "{file}: {image}");
            for port in list(&service["ports"]) {
                assert!(port.starts_with("127.0.0.1:"), "{file}: {name}: {port}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_prober_finds_the_fault_of_the_demos_lab() {
    let services = services("demo.yml");
    let folder = TempDir::new().unwrap();
    let state = folder.path().display().to_string();
    let arguments = |service: &str| -> Vec<String> {
        let here = |word: &str| {
            let word = word.replace("/var/lib/registry-prober", &state);
            word.replace("0.0.0.0:9912", "127.0.0.1:0").replace(":9912", "")
        };
        list(&services[service]["command"]).into_iter().map(here).collect()
    };
    let mut lab = Running::start(&arguments("lab"));
    lab.line(|line| line.contains("To stop it"));
    assert!(Path::new(&state).join("prober.yml").is_file());
    let mut more = arguments("prober");
    more.push("--log.format=json".to_owned());
    let mut prober = Running::start(&more);
    let address = prober.log("listening")["address"].as_str().unwrap().to_owned();
    let found = "finding=\"token-key-mismatch\",severity=\"critical\",backend=\"c\"} 1";
    eventually("the finding", async || get(&address, "/metrics").contains(found)).await;
}

#[test]
fn the_configuration_of_a_lab_in_a_new_relative_folder_can_be_loaded_from_anywhere() {
    let place = TempDir::new().unwrap();
    let mut command = program(&["lab", "healthy", "--folder=not/yet/here"]);
    command.current_dir(place.path());
    let mut lab = Running::of(command);
    lab.line(|line| line.contains("To stop it"));
    let file = format!("--config.file={}", place.path().join("not/yet/here/prober.yml").display());
    let checked = run(&["config", "check", &file]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

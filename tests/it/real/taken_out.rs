//! The commands with which a finding takes its node out of the load balancer, and puts it back, run as
//! they are shown: against a real `HAProxy`, and on the file of a real nginx.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::plan::{HAPROXY, Plan};
use super::site::Site;

/// The command of a remedy behind the name of a load balancer.
fn command(remedy: &Value, balancer: &str) -> String {
    let all: Vec<&str> =
        remedy["commands"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let at = all.iter().position(|line| *line == format!("# {balancer}")).unwrap();
    all[at + 1].to_owned()
}

/// Runs a command by bash, with this site's socket and folder in place of the system's.
fn run(site: &Site, command: &str) {
    let folder = site.folder().display().to_string();
    let command = command
        .replace("sudo nginx", "true nginx")
        .replace("sudo ", "")
        .replace("/run/haproxy/admin.sock", &format!("{folder}/balancer-haproxy.sock"))
        .replace("/etc/nginx", &format!("{folder}/balancer-nginx"));
    let ended = Command::new("bash").args(["-c", &command]).output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{command}: {ended:?}");
}

/// Whether `HAProxy` leads users to `b`: the column of what its operator wants.
fn wanted(site: &Site) -> bool {
    let state = site.haproxy("show servers state");
    let line = state.lines().find(|line| line.split(' ').nth(3) == Some("b")).unwrap();
    line.split(' ').nth(6) == Some("0")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_at_fault_goes_out_of_the_balancer_and_comes_back_by_the_commands_shown() {
    let site = Site::start(Plan::other_key()).await;
    let (_, json) = site.check().await;
    let registries = json["registries"].as_array().unwrap();
    let through = registries.iter().find(|it| it["name"] == HAPROXY).unwrap();
    let remedies = through["findings"][0]["remedies"].as_array().unwrap();
    let (out, back) = (remedies.first().unwrap(), remedies.last().unwrap());
    assert!(wanted(&site));
    run(&site, &command(out, "HAProxy"));
    assert!(!wanted(&site), "{}", site.haproxy("show servers state"));
    run(&site, &command(back, "HAProxy"));
    assert!(wanted(&site));

    let file = site.folder().join("balancer-nginx").join("nginx.conf");
    let before = fs::read_to_string(&file).unwrap();
    run(&site, &command(out, "nginx"));
    let down = format!("server {} down", site.nodes[1].address);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches(&down).count(), 1, "{text}");
    run(&site, &command(back, "nginx"));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

//! Tells the program what it was built from, which `build_info` and `--version` say, and makes the
//! list of findings from their pages.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "build/findings.rs"]
mod findings;

/// One page for each finding and each alert.
const PAGES: &str = "deploy/runbooks";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/findings.rs");
    println!("cargo::rerun-if-changed={PAGES}");
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let source = findings::source(&findings::pages(Path::new(PAGES))?);
    std::fs::write(out.join("findings.rs"), source).map_err(|error| error.to_string())?;
    println!("cargo::rerun-if-env-changed=REGISTRY_PROBER_REVISION");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustversion = first_line(Command::new(rustc).arg("--version"))
        .and_then(|line| line.split_whitespace().nth(1).map(str::to_owned));
    set("REGISTRY_PROBER_RUSTVERSION", rustversion);
    // Packagers set the variable; in a clone git knows. The log changes with every commit.
    let revision = std::env::var("REGISTRY_PROBER_REVISION").ok().or_else(|| {
        let log = Path::new(".git/logs/HEAD");
        log.exists().then(|| println!("cargo::rerun-if-changed={}", log.display()))?;
        first_line(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))
    });
    set("REGISTRY_PROBER_REVISION", revision);
    Ok(())
}

fn set(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.unwrap_or_else(|| "unknown".to_owned()));
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}

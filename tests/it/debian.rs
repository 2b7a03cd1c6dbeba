//! The Debian package: `dpkg` installs what it promises, the program in it runs, and removing it
//! leaves nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::operations::repository;

/// What users of the package look for.
const PROMISED: [&str; 8] = [
    "usr/bin/registry-prober",
    "usr/lib/systemd/system/registry-prober.service",
    "etc/registry-prober/prober.yml",
    "usr/share/man/man1/registry-prober.1.gz",
    "usr/share/man/man1/registry-prober-check.1.gz",
    "usr/share/bash-completion/completions/registry-prober",
    "usr/share/doc/registry-prober/rules.yml",
    "usr/share/doc/registry-prober/runbooks/token-key-mismatch.md",
];

/// Runs `dpkg` on a system of its own below a folder.
fn dpkg(root: &Path, arguments: &[&str]) {
    let output = Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .args(["--force-depends", "--force-not-root", "--force-bad-path", "--log=/dev/null"])
        // That root has no shell for the scripts.
        .arg("--force-script-chrootless")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn files(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path.display().to_string()) }
    }
}

#[test]
fn the_debian_package_installs_runs_and_leaves_nothing_when_it_is_purged() {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let debian = there("dpkg-deb") && there("strip");
    if !debian && std::env::var_os("CI").is_none() {
        eprintln!("dpkg-deb or strip is not installed, left out");
        return;
    }
    let place = TempDir::new().unwrap();
    // As a release is: to pack the symbols takes longer than the test.
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("registry-prober");
    let stripped = Command::new("strip")
        .args([Path::new("-o"), &program, Path::new(env!("CARGO_BIN_EXE_registry-prober"))])
        .status();
    assert!(stripped.unwrap().success());
    let built = Command::new(repository("deploy/debian/build"))
        .args([&program, place.path()])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let package = fs::read_dir(place.path()).unwrap().next().unwrap().unwrap().path();

    let root = place.path().join("root");
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(folder)).unwrap();
    }
    for file in ["status", "available"] {
        fs::write(root.join("var/lib/dpkg").join(file), "").unwrap();
    }
    dpkg(&root, &["--install", &package.display().to_string()]);
    for file in PROMISED {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    let unit = fs::read_to_string(root.join(PROMISED[1])).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/registry-prober run "), "{unit}");
    assert!(unit.contains("LoadCredential=password:"), "{unit}");
    let config = fs::read_to_string(root.join(PROMISED[2])).unwrap();
    let handed_over = "password_file: /run/credentials/registry-prober.service/password\n";
    assert!(config.contains(handed_over), "{config}");
    let version = Command::new(root.join(PROMISED[0])).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let name = package.file_name().unwrap().to_str().unwrap();
    let number = version.split(' ').nth(1).unwrap();
    assert!(name.starts_with(&format!("registry-prober_{number}_")), "{name}: {version}");

    dpkg(&root, &["--purge", "registry-prober"]);
    let mut left = Vec::new();
    files(&root, &mut left);
    left.retain(|file| !file.contains("/var/lib/dpkg/"));
    assert_eq!(left, [""; 0]);
}

//! The container image is built from what its context holds, and nothing that the build reads is
//! left out of that.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::operations::repository;

const DOCKERFILE: &str = "deploy/Dockerfile";
const REVISION: &str = "0123456789ab";

/// Does a pattern of a `.dockerignore` file hold for a path or for a folder above it? As in a
/// shell, `*` and `?` stay within a part of the path, and `**` is any number of parts.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path: Vec<&str> = path.split('/').collect();
    (1..=path.len()).any(|parts| parts_match(&pattern, &path[..parts]))
}

fn parts_match(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skip| parts_match(rest, &path[skip..])),
        ([first, rest @ ..], [name, below @ ..]) => {
            part_matches(first.as_bytes(), name.as_bytes()) && parts_match(rest, below)
        }
        _ => false,
    }
}

fn part_matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| part_matches(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, below @ ..]) => part_matches(rest, below),
        ([first, rest @ ..], [letter, below @ ..]) => first == letter && part_matches(rest, below),
        _ => false,
    }
}

/// Is a path left out of the context? The last pattern that holds decides.
fn left_out(rules: &str, path: &str) -> bool {
    let lines = rules.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut out = false;
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (pattern, leaves_out) = line.strip_prefix('!').map_or((line, true), |it| (it, false));
        if matches(pattern, path) {
            out = leaves_out;
        }
    }
    out
}

/// Everything of a folder that the rules leave in the context.
fn context(rules: &str, root: &Path, below: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let folder = entry.file_type().unwrap().is_dir();
        // A folder that is left out is looked through only for what is taken in again.
        let again = rules.lines().any(|line| line.starts_with(&format!("!{path}/")));
        let out = left_out(rules, &path);
        if folder && (!out || again) {
            context(rules, root, &path, found);
        } else if !folder && !out {
            found.push(path);
        }
    }
}

fn rules() -> String {
    fs::read_to_string(repository("deploy/Dockerfile.dockerignore")).unwrap()
}

/// The instructions of the Dockerfile, each on one line and without comments.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(repository(DOCKERFILE)).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

/// The instructions of its stage that compiles.
fn building() -> Vec<String> {
    let all = instructions();
    all.into_iter().skip(1).take_while(|line| !line.starts_with("FROM ")).collect()
}

#[test]
fn patterns_hold_as_docker_reads_them() {
    let rules = "# none of it\n*\n!src\n!a/**/b.txt\nsrc/*.tmp\n!LICENSE-?";
    let out = |path: &str| left_out(rules, path);
    for path in ["target/x", "README.md", "src/x.tmp", "LICENSE-MIT", "a/b.md", ".git/config"] {
        assert!(out(path), "{path}");
    }
    for path in ["src/main.rs", "src/deep/x.tmp", "LICENSE-A", "a/b.txt", "a/x/y/b.txt"] {
        assert!(!out(path), "{path}");
    }
}

#[test]
fn the_context_holds_what_the_build_reads_and_no_more() {
    let mut files = Vec::new();
    context(&rules(), &repository(""), "", &mut files);
    for file in ["build.rs", "Cargo.toml", "Cargo.lock", "src/main.rs", "src/web/askama.toml"]
        .into_iter()
        .chain(["build/findings.rs", "deploy/runbooks/token-key-mismatch.md"])
    {
        assert!(files.iter().any(|it| it == file), "{file} is left out");
    }
    for line in instructions().iter().filter(|line| line.starts_with("COPY LICENSE")) {
        for file in line.split(' ').filter(|word| word.starts_with("LICENSE")) {
            assert!(files.iter().any(|it| it == file), "{file} is left out");
        }
    }
    let foreign = ["target/", ".git/", "tests/", "deploy/", "dashboards/"];
    let pages = |file: &&String| file.starts_with("deploy/runbooks/");
    let more = files
        .iter()
        .filter(|file| !pages(file))
        .find(|file| foreign.iter().any(|folder| file.starts_with(folder)));
    assert_eq!(more, None);
}

#[test]
fn the_image_runs_without_rights_and_tells_of_its_health() {
    let all = instructions();
    assert!(all.iter().any(|line| line == "USER 65532:65532"), "{all:#?}");
    let health = all.iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    assert!(health.ends_with(r#"CMD ["/registry-prober", "healthcheck"]"#), "{health}");
    assert!(all.iter().any(|line| line == r#"ENTRYPOINT ["/registry-prober"]"#));
}

#[test]
fn image_compose_file_and_unit_keep_the_history_where_they_may_write() {
    let all = instructions();
    assert!(all.iter().any(|line| line == "VOLUME /var/lib/registry-prober"), "{all:#?}");
    let owned = "--chown=65532:65532 /registry-prober-state /var/lib/registry-prober";
    assert!(all.iter().any(|line| line.ends_with(owned)), "{all:#?}");
    for file in [DOCKERFILE, "deploy/compose/compose.yml", "deploy/systemd/registry-prober.service"]
    {
        let text = fs::read_to_string(repository(file)).unwrap();
        assert!(text.contains("--history.file=/var/lib/registry-prober/journal.jsonl"), "{file}");
    }
    let compose = fs::read_to_string(repository("deploy/compose/compose.yml")).unwrap();
    assert!(compose.contains("- history:/var/lib/registry-prober\n"), "{compose}");
}

/// Builds a release, which other tests should not have to share the processor with: `tests/run`
/// runs it by itself.
#[test]
#[ignore = "builds a release; tests/run runs it"]
fn the_image_builds_from_its_context_alone_and_knows_its_revision() {
    // The same place each time, so that only what has changed is compiled again.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("context");
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    let (source, out) = (place.join("src"), place.join("out"));
    fs::create_dir_all(&out).unwrap();
    let mut files = Vec::new();
    context(&rules(), &repository(""), "", &mut files);
    for file in &files {
        copy(&repository(file), &source.join(file));
    }
    // The compiled dependencies of the release are those of the image.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    std::os::unix::fs::symlink(target, source.join("target")).unwrap();

    let stage = building();
    assert!(stage.contains(&"COPY . .".to_owned()), "{stage:#?}");
    assert!(stage.iter().any(|line| line.starts_with("ARG REVISION")), "{stage:#?}");
    let runs: Vec<&String> = stage.iter().filter(|line| line.starts_with("RUN ")).collect();
    assert_eq!(runs.len(), 1, "{stage:#?}");
    let words = runs[0].split(' ').skip(1).filter(|word| !word.starts_with("--mount="));
    let command = words.collect::<Vec<_>>().join(" ");
    let command =
        command.replace(" /registry-prober", &format!(" {}/registry-prober", out.display()));
    let status = Command::new("sh")
        .args(["-ec", &command])
        .current_dir(&source)
        .env("REVISION", REVISION)
        // What it holds is tried here, not its speed, and to optimise takes minutes.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("REGISTRY_PROBER_REVISION")
        .status()
        .unwrap();
    assert!(status.success(), "{command}");
    let version = Command::new(out.join("registry-prober")).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert_eq!(
        version.trim(),
        format!("registry-prober {} ({REVISION})", env!("CARGO_PKG_VERSION"))
    );
}

/// Copies a file with its time, by which cargo tells whether it changed.
fn copy(from: &PathBuf, to: &PathBuf) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
    let time = fs::metadata(from).unwrap().modified().unwrap();
    File::options().write(true).open(to).unwrap().set_modified(time).unwrap();
}

//! The commands that show a finding: the real curl runs each of them against the lab, and prints
//! the status that the prober saw.

use std::io::Write as _;
use std::process::{Command, Stdio};

use registry_prober::config::TokenMethod;
use registry_prober::lab::{Family, KeyKind, Options, Scenario};
use registry_prober::model::{Assessment, Reproduction};
use secrecy::ExposeSecret as _;

use crate::support::{self, Bench};

/// What bash prints of a command whose prompt is answered with the password. Without a terminal
/// curl reads the answer from standard input.
fn run(command: &str, password: &str) -> String {
    let mut child = Command::new("setsid")
        .args(["--wait", "bash", "--norc", "--noprofile", "-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setsid and bash");
    let mut stdin = child.stdin.take().expect("its input");
    // Who asks for nothing may have ended by now.
    let _ = writeln!(stdin, "{password}");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = (output.stdout, output.stderr);
    format!("{}{}", String::from_utf8_lossy(&err), String::from_utf8_lossy(&out))
}

/// Runs every command of a scenario, and returns what they are for.
async fn play(scenario: &str, options: Options, method: TokenMethod) -> Vec<String> {
    let scenario = Scenario::named(scenario).expect("it is embedded");
    let options = Options { keys: KeyKind::Fast, ..options };
    let bench = Bench::start(&scenario, &options);
    let mut registry = (*bench.registry).clone();
    registry.token_method = method;
    let registry = std::sync::Arc::new(registry);
    let mut prober = support::prober(&registry);
    let (_, assessment): (_, Assessment) = support::round(&registry, &mut prober).await;
    let credentials = registry.credentials.as_ref().expect("an account");
    let password = credentials.password.expose_secret().to_owned();
    let findings = assessment.findings.into_iter();
    let shown: Vec<Reproduction> = findings.flat_map(|finding| finding.reproduce).collect();
    let name = &scenario.name;
    for Reproduction { text, status, command } in &shown {
        let (line, secret) = (command.clone(), password.clone());
        let printed =
            tokio::task::spawn_blocking(move || run(&line, &secret)).await.expect("it runs");
        let last = printed.lines().last().unwrap_or_default();
        let expected = status.map_or("000".to_owned(), |status| status.to_string());
        assert_eq!(last, expected, "{name}: {text}\n{command}\n{printed}");
        for secret in [password.as_str(), "eyJ"] {
            assert!(!printed.contains(secret) && !command.contains(secret), "{name}: {printed}");
        }
    }
    shown.into_iter().map(|shown| shown.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_prints_the_status_that_the_prober_saw() {
    let harbor = || Options { family: Some(Family::Harbor215), ..Options::default() };
    let plain = || Options { family: Some(Family::Distribution2), ..Options::default() };
    for (scenario, options, method, texts) in [
        (
            "token-key-mismatch",
            harbor(),
            TokenMethod::Get,
            &["show a token of a to b: status 401", "show a token of b to a: status 401"][..],
        ),
        (
            "token-key-mismatch",
            plain(),
            TokenMethod::Post,
            &["show a token of a to b: status 401", "show a token of b to a: status 401"],
        ),
        (
            "clock-skew-nbf-beyond-leeway",
            Options::default(),
            TokenMethod::Get,
            &["show a token of a to b: status 401"],
        ),
        (
            "authorization-header-dropped",
            harbor(),
            TokenMethod::Get,
            &["ask lb for a token: status 200, but "],
        ),
        (
            "backend-unreachable",
            harbor(),
            TokenMethod::Get,
            &["ask b for /v2/ without a token: no answer (connection_refused)"],
        ),
        ("credential-refused", harbor(), TokenMethod::Get, &["ask a for a token: status"]),
        ("repository-access-denied", plain(), TokenMethod::Get, &["ask a for a token"]),
        (
            "core-registry-password-mismatch",
            harbor(),
            TokenMethod::Get,
            &["show a token of b to b at /v2/: status 401"],
        ),
        (
            "realm-wrong-endpoint",
            Options::default(),
            TokenMethod::Get,
            &["ask b for its challenge: status 401, but "],
        ),
        (
            "server-errors",
            harbor(),
            TokenMethod::Get,
            &["ask b for /v2/ without a token: status 502"],
        ),
        ("not-a-registry", harbor(), TokenMethod::Get, &["ask b for /v2/ without a token: status"]),
        ("signing-key-unusable", harbor(), TokenMethod::Get, &["b"]),
        ("lb-misroutes-api-path", harbor(), TokenMethod::Get, &["lb"]),
    ] {
        let shown = play(scenario, options, method).await;
        for text in texts {
            assert!(
                shown.iter().any(|shown| shown.contains(text)),
                "{scenario}: {text} in {shown:#?}"
            );
        }
    }
}

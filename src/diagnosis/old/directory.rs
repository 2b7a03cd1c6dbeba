//! People whom a directory knows (D4, D6), beside a robot that the database knows. Which of the two
//! causes it is shows in the node's log alone, so nothing here is more than suspected.

use super::case::{Case, Draft, Impact, list};
use crate::model::{
    BackendFacts, BackendName, Confidence, DirectoryLogin, FindingName, LoginVerdict, OfRoute,
    Setting,
};

/// From here on a login is slow, in seconds: Harbor hashes a password in a tenth, and delays a
/// wrong one by 1.5.
const SLOW: f64 = 2.5;

/// Harbor delays the refusal of a wrong password by so much, in seconds, and no error of the
/// directory (captures/harbor-2.15.2/04-token-robot.http).
const DELAY: f64 = 1.4;

pub(super) fn examine(case: &mut Case<'_>) {
    let Some(logins) = case.round.checks.directory_login.measured() else { return };
    let told: Vec<(&BackendName, DirectoryLogin)> = logins.iter().filter_map(told).collect();
    let those = |wanted: fn(&DirectoryLogin) -> bool| -> Vec<BackendName> {
        let those = told.iter().filter(|(_, login)| wanted(login));
        those.map(|(backend, _)| (*backend).clone()).collect()
    };
    let accepting = those(|login| login.verdict == LoginVerdict::Accepted);
    let late = those(|login| login.verdict == LoginVerdict::TimedOut || login.seconds >= SLOW);
    let at_once = those(|login| login.verdict == LoginVerdict::Refused && login.seconds < DELAY);
    let compared = those(|login| {
        login.verdict == LoginVerdict::Refused && (DELAY..SLOW).contains(&login.seconds)
    });
    let evidence = told.iter().map(|(backend, login)| line(backend, login)).collect::<Vec<_>>();
    if !late.is_empty() {
        let alone = told.len() == late.len();
        let place = if alone { "wherever that was tried: " } else { "" };
        let summary = format!(
            "People whom a directory knows wait or fail, {place}at {}; a robot logs in at once.",
            list(&late)
        );
        let backends = if alone { Vec::new() } else { late };
        directory(case, backends, summary, evidence.clone(), Vec::new());
    }
    let named = case.findings.iter().any(|f| f.finding == FindingName::DirectoryUnavailable);
    match (accepting.is_empty(), at_once.is_empty(), compared.is_empty()) {
        (false, false, _) => secret_key(case, at_once, evidence),
        (false, true, false) if !named => {
            let summary = format!(
                "{} refuses the password of a person whom other nodes accept, with the delay of a \
                 wrong one: the directory that it asks knows another.",
                list(&compared)
            );
            let others = vec![FindingName::SecretkeyMismatch];
            directory(case, compared, summary, evidence, others);
        }
        (true, _, false) => {
            account(case, "refused everywhere, with the delay of a wrong password", evidence);
        }
        (true, false, true) if is_oidc(case) => {
            account(case, "refused everywhere: its CLI secret may have gone stale", evidence);
        }
        (true, false, true) if !named => {
            let summary = "People whom a directory knows are refused everywhere, at once, as if \
                           it could not be asked; a robot logs in.";
            let others = vec![FindingName::SecretkeyMismatch, FindingName::CredentialRefused];
            directory(case, Vec::new(), summary.to_owned(), evidence, others);
        }
        _ => {}
    }
}

/// Whether people log in by OIDC: the secret that their clients use is each one's own, and goes
/// stale by itself until he logs in to the web page again (D5).
fn is_oidc(case: &Case<'_>) -> bool {
    let mode = |facts: &BackendFacts| facts.settings.get(&Setting::AuthMode).cloned();
    let mut modes = case.round.backends.iter().filter_map(mode).peekable();
    modes.peek().is_some() && modes.all(|mode| mode.value == "oidc_auth")
}

/// A login, where the robot's own, a moment before, shows that the node itself was well and quick.
fn told(login: &OfRoute<DirectoryLogin>) -> Option<(&BackendName, DirectoryLogin)> {
    let quick = |login: &&DirectoryLogin| login.robot_seconds < SLOW / 2.0;
    Some((login.route.backend()?, *login.value.measured().filter(quick)?))
}

fn line(backend: &BackendName, login: &DirectoryLogin) -> String {
    let ended = match login.verdict {
        LoginVerdict::Accepted => "accepted",
        LoginVerdict::Refused => "refused (401)",
        LoginVerdict::TimedOut => "not answered",
    };
    format!("{backend}: the account of the directory is {ended} after {:.2} s", login.seconds)
}

fn directory(
    case: &mut Case<'_>,
    backends: Vec<BackendName>,
    summary: String,
    evidence: Vec<String>,
    alternatives: Vec<FindingName>,
) {
    let draft = Draft {
        name: FindingName::DirectoryUnavailable,
        confidence: Confidence::Suspected,
        impact: Impact::Beside(
            "People whom a directory knows cannot log in there, or wait for it; robots and local \
             accounts pass.",
        ),
        backends,
        summary,
        evidence,
        alternatives,
    };
    case.add(draft, &[], &[]);
}

/// Refused at once at some and accepted at others: what these nodes take for the directory's
/// password is not what was stored.
fn secret_key(case: &mut Case<'_>, backends: Vec<BackendName>, evidence: Vec<String>) {
    let summary = format!(
        "{} refuses at once the people whom a directory knows and other nodes accept: it may \
         decrypt the stored password of the directory with another secretkey.",
        list(&backends)
    );
    let draft = Draft {
        name: FindingName::SecretkeyMismatch,
        confidence: Confidence::Suspected,
        impact: Impact::Beside(
            "People whom a directory knows are refused at these nodes and pass at the others; \
             robots and local accounts pass everywhere.",
        ),
        backends,
        summary,
        evidence,
        alternatives: vec![FindingName::DirectoryUnavailable],
    };
    case.add(draft, &[], &[]);
}

/// The prober's own account is the likely cause.
fn account(case: &mut Case<'_>, how: &str, evidence: Vec<String>) {
    let draft = Draft {
        name: FindingName::CredentialRefused,
        confidence: Confidence::Suspected,
        impact: Impact::Note,
        backends: Vec::new(),
        summary: format!("The account of directory_credentials is {how}."),
        evidence,
        alternatives: vec![FindingName::DirectoryUnavailable],
    };
    case.add(draft, &[], &[]);
}

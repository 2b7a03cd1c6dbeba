//! LDAP and OIDC users (D4, D6), compared with a robot, which the database knows. Which cause it
//! is shows in the node's log alone, so nothing here is more than suspected. One file, for all of
//! it is read from the same few logins.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use super::credential_refused::WRONG_SECRET_SECONDS;
use crate::model::{
    BackendFacts, BackendName, Check, DirectoryLogin, FindingName, LoginVerdict, OfRoute, Setting,
};

/// From here on a login is slow, in seconds: Harbor hashes a password in a tenth, and delays a
/// wrong one by 1.5.
const SLOW: f64 = 2.5;

const WAITING: Hits = Hits::Background(
    "LDAP and OIDC users may be unable to log in there, or have to wait; robots and local accounts \
     can log in.",
);

/// Where the login of a person ended without success and a robot's did not: for people it is down.
const REFUSED: Hits = Hits::Some("Logins of LDAP and OIDC users");

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let Some(logins) = facts.round.checks.directory_login.measured() else { return Vec::new() };
    let said: Vec<(&BackendName, DirectoryLogin)> = logins.iter().filter_map(said).collect();
    let those = |wanted: fn(&DirectoryLogin) -> bool| -> Vec<BackendName> {
        let those = said.iter().filter(|(_, login)| wanted(login));
        those.map(|(backend, _)| (*backend).clone()).collect()
    };
    let seen = Logins {
        facts,
        given: logins,
        accepting: those(|login| login.verdict == LoginVerdict::Accepted),
        late: those(|login| login.verdict == LoginVerdict::TimedOut || login.seconds >= SLOW),
        at_once: those(|login| {
            login.verdict == LoginVerdict::Refused && login.seconds < WRONG_SECRET_SECONDS
        }),
        compared: those(|login| {
            login.verdict == LoginVerdict::Refused
                && (WRONG_SECRET_SECONDS..SLOW).contains(&login.seconds)
        }),
        evidence: said.iter().map(|(backend, login)| line(backend, login)).collect(),
    };
    [seen.waits(said.len()), seen.refused(), seen.next_to_a_slow_robot()]
        .into_iter()
        .flatten()
        .collect()
}

/// How people's logins ended, by backend.
struct Logins<'f> {
    facts: &'f Facts<'f>,
    given: &'f [OfRoute<DirectoryLogin>],
    accepting: Vec<BackendName>,
    late: Vec<BackendName>,
    at_once: Vec<BackendName>,
    compared: Vec<BackendName>,
    evidence: Vec<String>,
}

impl Logins<'_> {
    /// A hypothesis that claims what was met at these backends.
    fn at(&self, name: FindingName, names: &[BackendName], summary: String) -> Hypothesis {
        let ids = self.facts.met_on(Check::DirectoryLogin, self.given, |at| {
            at.route.backend().is_some_and(|name| names.contains(name))
        });
        Hypothesis::new(name, names.to_vec(), summary)
            .hits(WAITING)
            .evidence(self.evidence.iter().cloned())
            .explains(ids)
            // A login that is slow and succeeds is no failure, and worth saying.
            .alone()
    }

    fn waits(&self, tried: usize) -> Option<Hypothesis> {
        let names = &self.late;
        if names.is_empty() {
            return None;
        }
        let alone = names.len() == tried;
        let place = if alone { ", wherever it was tried" } else { "" };
        let summary = format!(
            "LDAP/OIDC logins are slow or failing at {}{place}; robot logins are fast.",
            list(names)
        );
        let unanswered = |login: &DirectoryLogin| login.verdict != LoginVerdict::Accepted;
        let down = self.given.iter().filter_map(said).any(|(_, login)| unanswered(&login));
        let hits = if down { REFUSED } else { WAITING };
        let found = self.at(FindingName::DirectoryUnavailable, names, summary).hits(hits);
        let found = found.suspected(&[]);
        Some(if alone { Hypothesis { backends: Vec::new(), ..found } } else { found })
    }

    fn refused(&self) -> Option<Hypothesis> {
        let late = !self.late.is_empty();
        match (self.accepting.is_empty(), self.at_once.is_empty(), self.compared.is_empty()) {
            (false, false, _) => Some(self.secret_key()),
            (false, true, false) if !late => Some(self.other_directory()),
            (true, _, false) => {
                Some(self.account("refused everywhere, with the delay of a wrong password"))
            }
            (true, false, true) if self.is_oidc() => {
                Some(self.account("refused everywhere: its CLI secret may have gone stale"))
            }
            (true, false, true) if !late => Some(self.cannot_be_asked()),
            _ => None,
        }
    }

    /// Refused at once at some and accepted at others: what these nodes take for the directory's
    /// password is not what was stored.
    fn secret_key(&self) -> Hypothesis {
        let names = &self.at_once;
        let summary = format!(
            "{} {} at once the LDAP/OIDC login that other nodes accept: the stored password of the \
             directory may be decrypted there with another secretkey.",
            list(names),
            verb(names.len(), "refuses", "refuse")
        );
        self.at(FindingName::SecretkeyMismatch, names, summary)
            .suspected(&[FindingName::DirectoryUnavailable])
            .hits(REFUSED)
    }

    fn other_directory(&self) -> Hypothesis {
        let names = &self.compared;
        let summary = format!(
            "{} {} the LDAP/OIDC login that other nodes accept, as if the password were wrong. The \
             directory that is asked there may have another password.",
            list(names),
            verb(names.len(), "refuses", "refuse")
        );
        self.at(FindingName::DirectoryUnavailable, names, summary)
            .suspected(&[FindingName::SecretkeyMismatch])
            .hits(REFUSED)
    }

    fn cannot_be_asked(&self) -> Hypothesis {
        let summary = "LDAP/OIDC logins fail everywhere, at once, as if the directory did not \
                       answer; robot logins work.";
        let others = [FindingName::SecretkeyMismatch, FindingName::CredentialRefused];
        let found = self.at(FindingName::DirectoryUnavailable, &self.at_once, summary.to_owned());
        Hypothesis { backends: Vec::new(), ..found.suspected(&others) }
    }

    /// The prober's own account is the likely cause.
    fn account(&self, how: &str) -> Hypothesis {
        let summary = format!("The account of directory_credentials is {how}.");
        let names = [self.at_once.as_slice(), &self.compared].concat();
        let found = self.at(FindingName::CredentialRefused, &names, summary);
        let found = found.suspected(&[FindingName::DirectoryUnavailable]).hits(Hits::Prober);
        Hypothesis { backends: Vec::new(), ..found }
    }

    /// Where the robot itself waited, a login says little of the directory.
    fn next_to_a_slow_robot(&self) -> Option<Hypothesis> {
        let ids = self.facts.met_on(Check::DirectoryLogin, self.given, |at| {
            at.value.measured().is_some() && said(at).is_none()
        });
        if ids.is_empty() {
            return None;
        }
        let lines = ids.iter().map(|id| {
            let seen = self.facts.observation(*id);
            format!("{}: {}, where a robot waits too", seen.place.answering(), seen.failure)
        });
        let summary = "LDAP/OIDC logins fail where robot logins are slow too.".to_owned();
        let found = Hypothesis::new(FindingName::DirectoryUnavailable, Vec::new(), summary)
            .suspected(&[FindingName::TokenEndpointSlow])
            .hits(WAITING)
            .evidence(lines)
            .fits(ids.iter().copied());
        Some(found)
    }

    /// Whether people log in by OIDC: the secret that their clients use is each one's own, and goes
    /// stale by itself until they log in to the web page again (D5).
    fn is_oidc(&self) -> bool {
        let mode = |facts: &BackendFacts| facts.settings.get(&Setting::AuthMode).cloned();
        let mut modes = self.facts.round.backends.iter().filter_map(mode).peekable();
        modes.peek().is_some() && modes.all(|mode| mode.value == "oidc_auth")
    }
}

/// A login, where the robot's own, a moment before, shows that the node itself was well and quick.
fn said(login: &OfRoute<DirectoryLogin>) -> Option<(&BackendName, DirectoryLogin)> {
    let quick = |login: &&DirectoryLogin| login.robot_seconds < SLOW / 2.0;
    Some((login.route.backend()?, *login.value.measured().filter(quick)?))
}

fn line(backend: &BackendName, login: &DirectoryLogin) -> String {
    let ended = match login.verdict {
        LoginVerdict::Accepted => "accepted",
        LoginVerdict::Refused => "refused (401)",
        LoginVerdict::TimedOut => "not answered",
    };
    format!(
        "{backend}: the login with the account of the directory is {ended} after {:.2} s",
        login.seconds
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::model::{Checked, Failure, Outcome, Reason, Round, Route, sample};

    fn assess(round: &Round) -> crate::model::Assessment {
        crate::diagnosis::verdict::judge(round, &crate::model::Earlier::default())
    }

    const ACCEPTED: LoginVerdict = LoginVerdict::Accepted;
    const REFUSED: LoginVerdict = LoginVerdict::Refused;
    const TIMED_OUT: LoginVerdict = LoginVerdict::TimedOut;

    /// Findings of a round in which the person's logins at a, b and c ended so.
    fn found(logins: &[Option<(LoginVerdict, f64)>]) -> Vec<String> {
        let login = |(name, login): (&str, &Option<(LoginVerdict, f64)>)| {
            let route = Route::Backend(BackendName::parse(name).unwrap());
            let lost = Failure::of_answer(Reason::ConnectionReset, "the connection was reset");
            let value = match login {
                Some((verdict, seconds)) => Outcome::Measured(DirectoryLogin {
                    verdict: *verdict,
                    seconds: *seconds,
                    robot_seconds: 0.1,
                    at: DateTime::UNIX_EPOCH,
                }),
                None => Outcome::Failed(lost),
            };
            OfRoute { route, value }
        };
        let logins = ["a", "b", "c"].into_iter().zip(logins).map(login).collect();
        let round = sample::changed(&["a", "b", "c"], |round| {
            let found = Outcome::Measured(logins);
            round.checks.directory_login = Checked { at: None, requests: 3, found };
        });
        assess(&round)
            .findings
            .iter()
            .map(|finding| {
                let at = list(&finding.backends);
                format!(
                    "{} {} {} [{at}]",
                    finding.finding,
                    finding.severity.as_str(),
                    finding.confidence.as_str()
                )
            })
            .collect()
    }

    #[test]
    fn a_directory_is_suspected_by_how_people_fare_next_to_the_robot() {
        let quick = Some((ACCEPTED, 0.1));
        let refused_at_once = Some((REFUSED, 0.02));
        let wrong_password = Some((REFUSED, 1.52));
        let late = Some((TIMED_OUT, 5.0));
        for (logins, expected) in [
            ([quick, quick, quick], vec![]),
            // What was lost on its way says nothing of the directory.
            ([quick, None, quick], vec![]),
            ([late, late, None], vec!["directory-unavailable critical suspected [no backend]"]),
            ([quick, late, quick], vec!["directory-unavailable critical suspected [b]"]),
            (
                [quick, Some((ACCEPTED, 4.0)), quick],
                vec!["directory-unavailable warning suspected [b]"],
            ),
            (
                [refused_at_once, refused_at_once, None],
                vec!["directory-unavailable warning suspected [no backend]"],
            ),
            ([quick, quick, refused_at_once], vec!["secretkey-mismatch critical suspected [c]"]),
            ([quick, quick, wrong_password], vec!["directory-unavailable critical suspected [c]"]),
            (
                [wrong_password, wrong_password, None],
                vec!["credential-refused warning suspected [no backend]"],
            ),
            (
                [late, quick, refused_at_once],
                vec![
                    "directory-unavailable critical suspected [a]",
                    "secretkey-mismatch critical suspected [c]",
                ],
            ),
        ] {
            assert_eq!(found(&logins), expected, "{logins:?}");
        }
    }
}

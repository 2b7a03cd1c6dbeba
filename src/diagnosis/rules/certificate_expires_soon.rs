//! `certificate-expires-soon`: certificates that are valid still, and whose renewal is overdue.

use super::super::facts::Facts;
use super::super::hypothesis::{Hits, Hypothesis};
use super::super::wording::{list, verb};
use crate::model::{BackendName, Certificate, Evidence, FindingName};

const NAME: FindingName = FindingName::CertificateExpiresSoon;

pub(super) fn rule(facts: &Facts<'_>) -> Vec<Hypothesis> {
    let now = facts.round.started;
    let all = &facts.round.certificates;
    let ending: Vec<&Certificate> =
        all.iter().filter(|c| c.invalid.is_none() && c.expires_soon(now)).collect();
    let Some(first) = ending.iter().min_by_key(|c| c.not_after) else { return Vec::new() };
    let at: Vec<BackendName> = ending.iter().filter_map(|c| c.route.backend().cloned()).collect();
    // What every route presents is the registry's, and no one node is at fault.
    let backends = if ending.len() == all.len() { Vec::new() } else { at };
    let when = format!("expires on {} (UTC)", first.not_after.format("%Y-%m-%d %H:%M"));
    let summary = if ending.len() == all.len() {
        format!("The certificate of every route {when}.")
    } else if backends.is_empty() {
        format!("The certificate of the load balancer {when}.")
    } else {
        let presents = verb(backends.len(), "presents", "present");
        format!("{} {presents} a certificate that {when}.", list(&backends))
    };
    let evidence = ending.iter().map(|certificate| {
        let left = certificate.not_after - now;
        let text = format!(
            "{}: certificate {}, for {}, valid from {} to {}: {}",
            certificate.route,
            certificate.fingerprint.get(..12).unwrap_or_default(),
            certificate.names.join(", "),
            certificate.not_before.format("%Y-%m-%d"),
            certificate.not_after.format("%Y-%m-%d %H:%M"),
            match left.num_days() {
                0 => format!("{} h left", left.num_hours()),
                days => format!("{days} d left"),
            },
        );
        #[expect(clippy::cast_precision_loss, reason = "two weeks are far below 2^52 seconds")]
        Evidence::from(text).with("seconds_left", left.num_seconds() as f64)
    });
    vec![Hypothesis::new(NAME, backends, summary).hits(Hits::Later).evidence(evidence).alone()]
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use crate::diagnosis::verdict::judge;
    use crate::model::{Earlier, Finding, FindingName, Severity, sample};

    /// Findings of three nodes behind a load balancer with certificates of a number of days, of which
    /// these routes have a number of seconds left.
    fn with(days: i64, left: i64, routes: &[&str]) -> Vec<Finding> {
        let round = sample::changed(&["a", "b", "c"], |round| {
            let now = round.started;
            for certificate in &mut round.certificates {
                let ends = routes.contains(&certificate.route.as_str());
                let half = TimeDelta::days(days) / 2;
                let left = if ends { TimeDelta::seconds(left) } else { half };
                certificate.not_after = now + left;
                certificate.not_before = certificate.not_after - TimeDelta::days(days);
            }
        });
        judge(&round, &Earlier::default()).findings
    }

    fn summary(days: i64, left: i64, routes: &[&str]) -> Option<String> {
        let findings = with(days, left, routes);
        assert!(findings.len() <= 1, "{findings:#?}");
        let finding = findings.into_iter().next()?;
        assert_eq!(finding.finding, FindingName::CertificateExpiresSoon);
        assert_eq!(finding.severity, Severity::Warning);
        Some(finding.summary)
    }

    const DAY: i64 = 86_400;

    #[test]
    fn a_renewal_is_overdue_in_the_last_two_weeks_or_in_the_last_sixth_of_a_short_life() {
        let ends = |days, left| summary(days, left, &["b"]).is_some();
        for (days, left) in [(398, 14 * DAY), (90, 14 * DAY), (47, 8 * DAY), (6, DAY), (1, 14_400)]
        {
            assert!(!ends(days, left), "{days} d, {left} s left");
            assert!(ends(days, left - DAY.min(left / 4)), "{days} d, less than {left} s left");
        }
    }

    #[test]
    fn it_is_said_of_the_node_or_of_the_load_balancer_or_of_all() {
        for (routes, said) in [
            (&["b"][..], "b presents a certificate that expires on "),
            (&["a", "c"], "a and c present a certificate that expires on "),
            (&["lb"], "The certificate of the load balancer expires on "),
            (&["a", "b", "c", "lb"], "The certificate of every route expires on "),
        ] {
            let summary = summary(90, 5 * DAY, routes).unwrap();
            assert!(summary.starts_with(said), "{summary}");
        }
        let all = with(90, 5 * DAY, &["a", "b", "c", "lb"]);
        assert!(all[0].backends.is_empty(), "{all:#?}");
        assert!(all[0].evidence[0].text.ends_with(": 5 d left"), "{all:#?}");
    }

    #[test]
    fn a_node_that_missed_the_renewal_is_not_also_a_node_with_another_certificate() {
        let round = sample::changed(&["a", "b", "c"], |round| {
            let b = &mut round.certificates[1];
            b.fingerprint = "77".repeat(32);
            b.not_after = round.started + TimeDelta::days(3);
        });
        let names = judge(&round, &Earlier::default()).findings.into_iter().map(|it| it.finding);
        assert_eq!(names.collect::<Vec<_>>(), [FindingName::CertificateExpiresSoon]);
    }
}

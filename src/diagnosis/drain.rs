//! The first step: take the node at fault out of the load balancer, while the others are sound.

use super::facts::Facts;
use super::hypothesis::{Hits, Hypothesis};
use super::wording::list;
use crate::model::{BackendName, Family, Flow, Remedy, Severity};

/// The most sound nodes that are listed by name.
const MOST_NAMED: usize = 5;

/// What to do first where requests of users fail at some nodes and the other nodes can serve them;
/// then the other remedies.
pub(super) fn first(
    facts: &Facts<'_>,
    h: &Hypothesis,
    severity: Severity,
    mut rest: Vec<Remedy>,
) -> Vec<Remedy> {
    if h.hits == Hits::Prober {
        // What only the prober meets is put right at the prober.
        rest.sort_by_key(|remedy| !remedy.text.contains("the prober"));
        return rest;
    }
    let helps = matches!(h.hits, Hits::Tokens | Hits::Requests | Hits::Some(_));
    let sound: Vec<BackendName> = facts
        .round
        .backends
        .iter()
        .filter(|node| node.ready && !h.backends.contains(&node.name))
        .filter(|node| facts.round.backend_flow(&node.name).is_some_and(Flow::succeeded))
        .map(|node| node.name.clone())
        .collect();
    if severity != Severity::Critical || !helps || h.backends.is_empty() || sound.is_empty() {
        return rest;
    }
    // The general page can only say that it may help.
    let general = |text: &str| text.contains("ake the node out of the load balancer");
    rest.retain(|remedy| !remedy.commands.is_empty() || !general(&remedy.text));
    let text = format!(
        "Take {} out of the load balancer until the cause is fixed. The basic check passes at {}. Use \
         the command for your load balancer:",
        list(&h.backends),
        if sound.len() > MOST_NAMED {
            format!("{} other nodes", sound.len())
        } else {
            list(&sound)
        }
    );
    let address = |name: &BackendName| facts.round.backend(name).map(|node| node.address.as_str());
    let mut commands = Vec::new();
    for name in &h.backends {
        commands.push(format!(
            "echo 'set server BACKEND/{name} state maint' | sudo socat stdio /run/haproxy/admin.sock"
        ));
    }
    let addresses: Vec<&str> = h.backends.iter().filter_map(address).collect();
    commands.extend(out_of_nginx(&addresses));
    let plain = matches!(facts.common_family(), Family::Distribution2 | Family::Distribution3);
    if !plain {
        commands.push("kubectl -n harbor label pod POD component-".to_owned());
    }
    rest.insert(0, Remedy { text, commands });
    rest
}

/// Marks servers of nginx as down: one command for all, so that the copy that it leaves is the file as
/// it was. It stops at the first step that fails.
fn out_of_nginx(addresses: &[&str]) -> Option<String> {
    const FILE: &str = "/etc/nginx/nginx.conf";
    let escape = |c: char| match c {
        '.' | '[' | ']' => format!("\\{c}"),
        _ => c.to_string(),
    };
    let server = |address: &&str| {
        let address = address.rsplit("://").next().unwrap_or(address);
        format!("server {}", address.chars().map(escape).collect::<String>())
    };
    let servers: Vec<String> = addresses.iter().map(server).collect();
    let found = servers.iter().map(|it| format!("sudo grep -q '{it}[ ;]' {FILE}"));
    let marks = servers.iter().map(|it| format!("-e 's/\\({it}\\)\\([ ;]\\)/\\1 down\\2/'"));
    let (found, marks) = (found.collect::<Vec<_>>(), marks.collect::<Vec<_>>());
    (!servers.is_empty()).then(|| {
        format!(
            "{} && sudo sed -i.bak {} {FILE} && sudo nginx -t && sudo nginx -s reload",
            found.join(" && "),
            marks.join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::{Earlier, FindingName, FlowResult, Ratio, Reason, Round, Step, sample};

    /// `c` signs with another key, and a third of the fresh tokens is refused.
    fn odd_one() -> Round {
        sample::changed(&["a", "b", "c"], |round| {
            sample::sign_with(round, "c", sample::OTHER_KEY);
            for other in ["a", "b", "lb"] {
                sample::refuse(round, "c", other);
                sample::refuse(round, other, "c");
            }
            if let crate::model::Outcome::Measured(run) = &mut round.balancer {
                run.pairs = Ratio { events: 9, trials: 20 };
            }
        })
    }

    #[test]
    fn the_node_at_fault_goes_first_and_the_cure_follows() {
        let found = judge(&odd_one(), &Earlier::default());
        let finding =
            found.findings.iter().find(|it| it.finding == FindingName::TokenKeyMismatch).unwrap();
        let first = &finding.remedies[0];
        assert!(first.text.starts_with("Take c out of the load balancer"), "{first:?}");
        assert!(first.text.contains("The basic check passes at a and b."), "{first:?}");
        assert!(first.commands[0].contains("set server BACKEND/c state maint"), "{first:?}");
        assert_eq!(
            first.commands[1],
            r"sudo grep -q 'server 10\.0\.0\.3:443[ ;]' /etc/nginx/nginx.conf && sudo sed -i.bak -e 's/\(server 10\.0\.0\.3:443\)\([ ;]\)/\1 down\2/' /etc/nginx/nginx.conf && sudo nginx -t && sudo nginx -s reload"
        );
        let again = finding.remedies[1..].iter();
        let again =
            again.filter(|remedy| remedy.text.contains("ake the node out of the load balancer"));
        assert_eq!(again.count(), 0, "it is said once: {:?}", finding.remedies);
    }

    #[test]
    fn what_only_the_prober_meets_is_put_right_at_the_prober_first() {
        let mut round = sample::round(&["a", "b"]);
        for at in ["a", "b", "lb"] {
            sample::fail(&mut round, at, Step::Challenge, Reason::TlsCertificate);
        }
        for flow in &mut round.flows {
            if let FlowResult::Failed { failure, .. } = &mut flow.result {
                failure.detail = "signed by an authority that is not trusted".to_owned();
            }
        }
        let judged = judge(&round, &Earlier::default());
        let [finding] = judged.findings.as_slice() else { panic!("{judged:?}") };
        assert!(finding.remedies[0].text.contains("give the prober"), "{:?}", finding.remedies);
    }

    #[test]
    fn a_node_that_is_down_is_not_counted_among_the_sound() {
        let round = sample::changed(&["a", "b", "c"], |round| {
            *round = odd_one();
            round.backends[1].ready = false;
        });
        let found = judge(&round, &Earlier::default());
        let finding =
            found.findings.iter().find(|it| it.finding == FindingName::TokenKeyMismatch).unwrap();
        let first = &finding.remedies[0];
        assert!(first.text.contains("The basic check passes at a."), "{first:?}");
    }

    #[test]
    fn where_no_node_is_known_to_be_sound_none_is_taken_out() {
        let split = sample::changed(&["a", "b"], |round| {
            sample::sign_with(round, "b", sample::OTHER_KEY);
            for (one, other) in [("a", "b"), ("b", "a")] {
                sample::refuse(round, one, other);
            }
            if let crate::model::Outcome::Measured(run) = &mut round.balancer {
                run.pairs = Ratio { events: 9, trials: 20 };
            }
        });
        for finding in judge(&split, &Earlier::default()).findings {
            if finding.backends.len() == 2 {
                let first = finding.remedies.first().map_or("", |remedy| &remedy.text);
                assert!(!first.starts_with("Take a and b out"), "{finding:?}");
            }
        }
    }
}

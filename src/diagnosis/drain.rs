//! The step that stops the bleeding: out with the node at fault, while the others are sound.

use super::facts::Facts;
use super::hypothesis::{Hits, Hypothesis};
use super::wording::list;
use crate::model::{BackendName, Family, Flow, Remedy, Severity};

/// What to do first where users fail at some of the nodes and the rest can serve them; then what else
/// there is to do.
pub(super) fn first(
    facts: &Facts<'_>,
    h: &Hypothesis,
    severity: Severity,
    mut rest: Vec<Remedy>,
) -> Vec<Remedy> {
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
        list(&sound)
    );
    let address = |name: &BackendName| facts.round.backend(name).map(|node| node.address.as_str());
    let mut commands = Vec::new();
    for name in &h.backends {
        commands.push(format!(
            "echo 'set server BACKEND/{name} state maint' | sudo socat stdio /run/haproxy/admin.sock"
        ));
        commands.extend(address(name).map(out_of_nginx));
    }
    let plain = matches!(facts.common_family(), Family::Distribution2 | Family::Distribution3);
    if !plain {
        commands.push("kubectl -n harbor label pod POD component-".to_owned());
    }
    rest.insert(0, Remedy { text, commands });
    rest
}

/// Marks a server of nginx as down. It stops at the first step that fails, and leaves a copy.
fn out_of_nginx(address: &str) -> String {
    const FILE: &str = "/etc/nginx/nginx.conf";
    let address = address.rsplit("://").next().unwrap_or(address);
    let escape = |c: char| match c {
        '.' | '[' | ']' => format!("\\{c}"),
        _ => c.to_string(),
    };
    let server = format!("server {}", address.chars().map(escape).collect::<String>());
    format!(
        "sudo grep -q '{server}[ ;]' {FILE} && sudo sed -i.bak 's/\\({server}\\)\\([ ;]\\)/\\1 down\\2/' \
         {FILE} && sudo nginx -t && sudo nginx -s reload"
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::verdict::judge;
    use crate::model::{Earlier, FindingName, Ratio, Round, sample};

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
        let again = finding.remedies[1..].iter();
        let again =
            again.filter(|remedy| remedy.text.contains("ake the node out of the load balancer"));
        assert_eq!(again.count(), 0, "it is said once: {:?}", finding.remedies);
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

//! The step that stops the bleeding: out with the node at fault, while the others are sound.

use super::facts::Facts;
use super::hypothesis::{Hits, Hypothesis};
use super::wording::list;
use crate::model::{BackendName, Family, Remedy, Severity};

/// What to do first where users fail at some of the nodes and the rest can serve them; then what else
/// there is to do.
pub(super) fn first(
    facts: &Facts<'_>,
    h: &Hypothesis,
    severity: Severity,
    mut rest: Vec<Remedy>,
) -> Vec<Remedy> {
    let all = &facts.round.backends;
    let helps = matches!(h.hits, Hits::Tokens | Hits::Requests | Hits::Some(_));
    let sound = h.backends.len() < all.len();
    if severity != Severity::Critical || !helps || h.backends.is_empty() || !sound {
        return rest;
    }
    // The general page can only say that it may help.
    rest.retain(|remedy| {
        !remedy.commands.is_empty() || !remedy.text.contains("out of the load balancer")
    });
    let names = list(&h.backends);
    let left = all.len() - h.backends.len();
    let others = if left == 1 { "the other node".to_owned() } else { format!("the other {left}") };
    let text = format!(
        "Take {names} out of the load balancer until the cause is fixed; {others} can serve all \
         users. With HAProxy, nginx or Kubernetes, whichever leads users to the nodes:"
    );
    let address = |name: &BackendName| facts.round.backend(name).map(|node| node.address.as_str());
    let mut commands = Vec::new();
    for name in &h.backends {
        commands.push(format!(
            "echo 'set server BACKEND/{name} state maint' | sudo socat stdio /run/haproxy/admin.sock"
        ));
        let Some(address) = address(name) else { continue };
        let address = address.rsplit("://").next().unwrap_or(address);
        commands.push(format!(
            "sudo sed -i 's/server {address}/& down/' /etc/nginx/nginx.conf && sudo nginx -s reload"
        ));
    }
    if facts.common_family() != Family::Distribution2 {
        commands.push("kubectl -n harbor label pod POD component-".to_owned());
    }
    rest.insert(0, Remedy { text, commands });
    rest
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
        assert!(first.text.contains("the other 2 can serve all users"), "{first:?}");
        assert!(first.commands[0].contains("set server BACKEND/c state maint"), "{first:?}");
        let again = finding.remedies[1..].iter();
        let again = again.filter(|remedy| remedy.text.contains("out of the load balancer"));
        assert_eq!(again.count(), 0, "it is said once: {:?}", finding.remedies);
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

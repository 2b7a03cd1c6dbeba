//! The first step: take the node at fault out of the load balancer, while the others are sound. The
//! last one puts it back.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::fill::bare;
use super::hypothesis::{Hits, Hypothesis};
use super::wording::list;
use crate::model::{BackendName, Family, Flow, Issuer, Remedy, Route, Severity};

/// The most sound nodes that are listed by name.
const MOST_NAMED: usize = 5;
/// Where `HAProxy` of Debian and of most guides takes commands.
const SOCKET: &str = "sudo socat stdio /run/haproxy/admin.sock";

/// What to do first where requests of users fail at some nodes and the other nodes can serve them;
/// then the other remedies. No node counts as sound at which any critical finding lies: the advice of
/// two findings must not send users from one broken node to the other.
pub(super) fn first(
    facts: &Facts<'_>,
    h: &Hypothesis,
    severity: Severity,
    broken: &BTreeSet<BackendName>,
    mut rest: Vec<Remedy>,
) -> Vec<Remedy> {
    let helps = matches!(h.hits, Hits::Tokens | Hits::Requests | Hits::Some(_));
    let sound: Vec<BackendName> = facts
        .round
        .backends
        .iter()
        .filter(|node| node.ready && !h.backends.contains(&node.name))
        .filter(|node| !broken.contains(&node.name))
        .filter(|node| facts.round.backend_flow(&node.name).is_some_and(Flow::succeeded))
        .map(|node| node.name.clone())
        .collect();
    if severity != Severity::Critical || !helps || h.backends.is_empty() {
        return rest;
    }
    // The general page can only say that it may help.
    let general = |text: &str| text.contains("ake the node out of the load balancer");
    if !sound.is_empty() {
        rest.retain(|remedy| !remedy.commands.is_empty() || !general(&remedy.text));
        let named = match sound.len() {
            few if few <= MOST_NAMED => list(&sound),
            many => format!("{many} other nodes"),
        };
        let text = format!(
            "Take {} out of the load balancer until the cause is fixed. The basic check passes at \
             {named}. Use the command for your load balancer:",
            list(&h.backends)
        );
        return around(facts, &h.backends, text, rest);
    }
    let Some(alone) = alone(facts, h, broken) else { return rest };
    let others: Vec<BackendName> = h.backends.iter().filter(|it| *it != alone).cloned().collect();
    let text = format!(
        "If {alone} can carry the load, keep only this node in the load balancer until the cause \
         is fixed: it accepts its own tokens. Take {} out:",
        list(&others)
    );
    around(facts, &others, text, rest)
}

/// Where every node is at fault because nodes refuse each other's tokens: one that can serve alone.
pub(super) fn alone<'f>(
    facts: &'f Facts<'_>,
    h: &Hypothesis,
    broken: &BTreeSet<BackendName>,
) -> Option<&'f BackendName> {
    let mut nodes = facts.round.backends.iter().filter(|node| node.ready).map(|node| &node.name);
    let of_others = broken.iter().any(|name| !h.backends.contains(name));
    if h.hits != Hits::Tokens || h.backends.len() < 2 || of_others {
        return None;
    }
    nodes.find(|name| {
        let route = Route::Backend((*name).clone());
        let own = facts.round.matrix.cell(&Issuer::Route(route.clone()), &route);
        own.is_some_and(|cell| cell.accepted() == Some(true))
    })
}

/// Taking these nodes out first and putting them back last, with the other remedies in between.
fn around(
    facts: &Facts<'_>,
    nodes: &[BackendName],
    text: String,
    mut rest: Vec<Remedy>,
) -> Vec<Remedy> {
    let ways = ways(facts, nodes);
    let side = |of: fn(&Way) -> &String| -> Vec<String> {
        ways.iter().flat_map(|way| [format!("# {}", way.balancer), of(way).clone()]).collect()
    };
    rest.insert(0, Remedy { text, commands: side(|way| &way.out) });
    let text = format!("When the cause is fixed and `check` says so, put {} back:", list(nodes));
    rest.push(Remedy { text, commands: side(|way| &way.back) });
    rest
}

/// How one kind of load balancer stops leading users to some nodes, and starts again.
struct Way {
    balancer: &'static str,
    out: String,
    back: String,
}

/// The kinds that may stand here. Where Kubernetes itself names the nodes, they are pods.
fn ways(facts: &Facts<'_>, nodes: &[BackendName]) -> Vec<Way> {
    let address = |name: &BackendName| facts.round.backend(name).map(|node| node.address.as_str());
    let addresses: Vec<&str> = nodes.iter().filter_map(address).map(bare).collect();
    let plain = matches!(facts.common_family(), Family::Distribution2 | Family::Distribution3);
    let label = if plain { "app" } else { "component" };
    if let Some(namespace) = &facts.round.caller.namespace {
        return vec![kubernetes(namespace, nodes, label)];
    }
    vec![haproxy(nodes, &addresses), nginx(&addresses)]
}

/// `HAProxy` is asked for the servers at these addresses, since only it knows what it calls them.
fn haproxy(nodes: &[BackendName], addresses: &[&str]) -> Way {
    let one = |(node, address): (&BackendName, &&str)| match address.rsplit_once(':') {
        Some((host, port)) if host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() => {
            format!("$5==\"{}\" && $19==\"{port}\"", host.trim_matches(['[', ']']))
        }
        _ => format!("$4==\"{node}\""),
    };
    let those: Vec<String> = nodes.iter().zip(addresses).map(one).collect();
    let those = those.join(" || ");
    let command = |state: &str| {
        format!(
            "echo 'show servers state' | {SOCKET} | awk '{those} {{printf \"%sset server %s/%s state \
             {state}\", s, $2, $4; s=\";\"}} END {{if (s) print \"\"; else print \"HAProxy has no such \
             server\" > \"/dev/stderr\"}}' | {SOCKET}"
        )
    };
    Way { balancer: "HAProxy", out: command("maint"), back: command("ready") }
}

/// nginx reads which servers are down from its files. It stops at the first step that fails.
fn nginx(addresses: &[&str]) -> Way {
    let escape = |c: char| match c {
        '.' | '[' | ']' => format!("\\{c}"),
        _ => c.to_string(),
    };
    let server = |address: &&str| address.chars().map(escape).collect::<String>();
    let servers: Vec<String> = addresses.iter().map(server).collect();
    let command = |from: &str, to: &str| {
        let marks =
            servers.iter().map(|it| format!("-e 's/\\(server {it}\\){from}\\([ ;]\\)/{to}/'"));
        let found = servers.iter().map(|it| format!("-e 'server {it}[ ;]'"));
        format!(
            "sudo sed -i {} $(sudo grep -rl {} /etc/nginx) && sudo nginx -t && sudo nginx -s reload",
            marks.collect::<Vec<_>>().join(" "),
            found.collect::<Vec<_>>().join(" ")
        )
    };
    Way { balancer: "nginx", out: command("", r"\1 down\2"), back: command(" down", r"\1\2") }
}

/// A pod that lacks the label by which its Service finds it gets no requests, and its deployment
/// starts another one.
fn kubernetes(namespace: &str, pods: &[BackendName], label: &str) -> Way {
    let pods: Vec<&str> = pods.iter().map(BackendName::as_str).collect();
    let pods = pods.join(" ");
    Way {
        balancer: "Kubernetes",
        out: format!("kubectl -n {namespace} label pod {pods} {label}-"),
        back: format!("kubectl -n {namespace} delete pod {pods}   # a new pod has replaced it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let [haproxy, of_haproxy, nginx, of_nginx] = first.commands.as_slice() else {
            panic!("{first:?}")
        };
        assert_eq!([haproxy, nginx], ["# HAProxy", "# nginx"]);
        assert!(of_haproxy.contains(r#"awk '$5=="10.0.0.3" && $19=="443" {"#), "{first:?}");
        assert!(of_haproxy.contains("state maint\""), "{first:?}");
        assert_eq!(
            of_nginx,
            r"sudo sed -i -e 's/\(server 10\.0\.0\.3:443\)\([ ;]\)/\1 down\2/' $(sudo grep -rl -e 'server 10\.0\.0\.3:443[ ;]' /etc/nginx) && sudo nginx -t && sudo nginx -s reload"
        );
        let last = finding.remedies.last().unwrap();
        assert!(last.text.contains("put c back"), "{last:?}");
        assert!(last.commands[1].contains("state ready\""), "{last:?}");
        assert!(last.commands[3].contains(r"\) down\([ ;]\)/\1\2/'"), "{last:?}");
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
    fn of_two_nodes_that_refuse_each_other_one_stays_alone() {
        let round = sample::changed(&["a", "b"], |round| {
            sample::refuse(round, "a", "b");
            sample::refuse(round, "b", "a");
        });
        let earlier = Earlier::default();
        let facts = Facts::new(&round, &earlier);
        let both = vec![sample::backend("a"), sample::backend("b")];
        let all: BTreeSet<BackendName> = both.iter().cloned().collect();
        let h = Hypothesis::new(FindingName::TokenKeyMismatch, both, String::new());
        let of_tokens = h.clone().hits(Hits::Tokens);
        let advice = super::first(&facts, &of_tokens, Severity::Critical, &all, Vec::new());
        let first = &advice[0];
        assert!(
            first.text.starts_with("If a can carry the load, keep only this node"),
            "{first:?}"
        );
        assert!(first.commands[1].contains("10.0.0.2"), "{first:?}");
        assert!(!first.commands[1].contains("10.0.0.1"), "{first:?}");
        // What fails at both whoever issued the token fails at one alone as well.
        assert_eq!(super::first(&facts, &h, Severity::Critical, &all, Vec::new()), []);
    }

    #[test]
    fn a_pod_is_taken_out_by_its_name_in_its_namespace_and_by_nothing_else() {
        let mut round = odd_one();
        round.caller.namespace = Some("harbor".to_owned());
        let found = judge(&round, &Earlier::default());
        let commands = &found.findings[0].remedies[0].commands;
        assert_eq!(commands[..], ["# Kubernetes", "kubectl -n harbor label pod c component-"]);
        let last = found.findings[0].remedies.last().unwrap();
        assert!(last.commands[1].starts_with("kubectl -n harbor delete pod c"), "{last:?}");
    }

    #[test]
    fn no_advice_sends_users_from_one_broken_node_to_another() {
        let round = odd_one();
        let earlier = Earlier::default();
        let facts = Facts::new(&round, &earlier);
        let at = |name: &str| sample::backend(name);
        let h = Hypothesis::new(FindingName::ServerErrors, vec![at("c")], String::new());
        let first = |broken: &[&str]| {
            let broken = broken.iter().map(|name| at(name)).collect();
            let all = super::first(&facts, &h, Severity::Critical, &broken, Vec::new());
            all.first().map(|remedy| remedy.text.clone())
        };
        let text = first(&["b", "c"]).unwrap();
        assert!(text.contains("The basic check passes at a. "), "{text}");
        assert_eq!(first(&["a", "b", "c"]), None);
    }
}

//! What the prober knows goes into the commands that a finding's page leaves open: the registry's
//! name, the addresses of the nodes at fault, and that of a sound one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use url::Url;

use crate::model::{BackendFacts, BackendName, Flow, Remedy, Round, Route};

/// The most nodes for which a command is repeated.
const MOST_NODES: usize = 3;

/// Fills in the commands of the remedies for what is wrong at some nodes. What is not known stays as
/// it is on the page. Of nodes that are all at fault, `alone` is the one that the others should follow.
pub(super) fn fill(
    round: &Round,
    at_fault: &[BackendName],
    broken: &BTreeSet<BackendName>,
    alone: Option<&BackendName>,
    remedies: &mut [Remedy],
) {
    let Ok(public) = Url::parse(&round.url) else { return };
    let known = Known { round, public: &public };
    // A cause that lies at no single node is seen at each of them.
    let mut nodes: Vec<&BackendFacts> = at_fault
        .iter()
        .filter(|name| Some(*name) != alone)
        .filter_map(|name| round.backend(name))
        .take(MOST_NODES)
        .collect();
    if nodes.is_empty() {
        nodes.extend(round.backends.first());
    }
    let sound = round.backends.iter().find(|node| {
        let works = round.backend_flow(&node.name).is_some_and(Flow::succeeded);
        works && !at_fault.contains(&node.name) && !broken.contains(&node.name)
    });
    let sound = sound.or_else(|| round.backend(alone?));
    for remedy in remedies {
        let filled =
            remedy.commands.iter().flat_map(|command| known.command(command, &nodes, sound));
        remedy.commands = filled.collect();
    }
}

/// Fills in a sentence.
pub(super) fn sentence(round: &Round, text: &str) -> String {
    let Ok(public) = Url::parse(&round.url) else { return text.to_owned() };
    Known { round, public: &public }.everywhere(text)
}

/// What stands for what in a command.
struct Known<'a> {
    round: &'a Round,
    public: &'a Url,
}

impl Known<'_> {
    /// A command as it can be run: one, or one for each node that it names.
    fn command(
        &self,
        command: &str,
        nodes: &[&BackendFacts],
        sound: Option<&BackendFacts>,
    ) -> Vec<String> {
        let mut text = self.everywhere(command);
        if let Some(good) = sound.and_then(|node| machine(&node.address)) {
            text = text.replace("GOOD:", &format!("{good}:"));
            if let Some(other) = nodes.iter().find_map(|node| machine(&node.address)) {
                text = text.replace("ssh A ", &format!("ssh {good} "));
                text = text.replace("ssh B ", &format!("ssh {other} "));
            }
        }
        let is_of_nodes = ["NODE", "ADDRESS"].iter().any(|word| text.contains(word));
        if !is_of_nodes || nodes.is_empty() {
            return vec![text];
        }
        nodes.iter().map(|node| self.at(&text, node)).collect()
    }

    /// What is the same at every node.
    fn everywhere(&self, command: &str) -> String {
        let url = self.round.url.trim_end_matches('/');
        let mut text =
            command.replace("'URL/", &format!("'{url}/")).replace(" URL/", &format!(" {url}/"));
        if let (Some(host), Some(port)) =
            (self.public.host_str(), self.public.port_or_known_default())
        {
            let named = if self.public.port().is_some() {
                format!("{host}:{port}")
            } else {
                host.to_owned()
            };
            text = text.replace("https://HOST/", &format!("{}://{named}/", self.public.scheme()));
            text = text.replace("HOST:443", &format!("{host}:{port}"));
            text = text.replace("-servername HOST", &format!("-servername {host}"));
        }
        if let Some(repository) = super::reproduce::repository(self.round) {
            text = text.replace("/v2/REPOSITORY", &format!("/v2/{repository}"));
        }
        if let Some(namespace) = &self.round.caller.namespace {
            for program in ["kubectl", "helm"] {
                text = text.replace(
                    &format!("{program} -n harbor "),
                    &format!("{program} -n {namespace} "),
                );
            }
        }
        match &self.round.caller.username {
            // Any other letter would need quotes of its own.
            Some(name)
                if name.chars().all(|c| c.is_ascii_alphanumeric() || "$+-_.@".contains(c)) =>
            {
                text.replace("'USER'", &format!("'{name}'"))
            }
            _ => text,
        }
    }

    /// A command for one node.
    fn at(&self, command: &str, node: &BackendFacts) -> String {
        let address = bare(&node.address);
        let route = Route::Backend(node.name.clone());
        let text = match super::reproduce::asking(self.round, &route) {
            Some((curl, origin)) => {
                command.replace("curl -s 'NODE/", &format!("{curl} '{origin}/"))
            }
            None => command.to_owned(),
        };
        let machine = machine(&node.address).unwrap_or_else(|| address.to_owned());
        // curl takes an address alone there, and openssl one with its port.
        let text = text.replace(":ADDRESS", &format!(":{machine}"));
        let text = text.replace("NODE:443", address).replace("ADDRESS", address);
        text.replace("NODE", &machine)
    }
}

/// The address without its port, if it is one.
fn machine(address: &str) -> Option<String> {
    let (host, _) = bare(address).rsplit_once(':')?;
    let plain = host.trim_matches(['[', ']']);
    plain.parse::<IpAddr>().ok().map(|_| host.to_owned())
}

/// An address without its scheme.
pub(super) fn bare(address: &str) -> &str {
    address.rsplit("://").next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::FindingName;
    use crate::model::sample;

    /// The commands of a finding at `b`, in a round of `a`, `b` and `c`.
    fn commands(name: FindingName) -> Vec<String> {
        let round = sample::round(&["a", "b", "c"]);
        let of = name.definition().remedies.iter();
        let mut remedies: Vec<Remedy> = of
            .map(|it| Remedy {
                text: String::new(),
                commands: it.commands.iter().map(|it| (*it).to_owned()).collect(),
            })
            .collect();
        let b = sample::backend("b");
        fill(&round, std::slice::from_ref(&b), &[b.clone()].into(), None, &mut remedies);
        remedies.into_iter().flat_map(|remedy| remedy.commands).collect()
    }

    #[test]
    fn the_commands_name_this_registry_and_the_node_at_fault() {
        for (name, filled) in [
            (
                FindingName::BackendUnreachable,
                "--resolve hub.example.com:443:10.0.0.2 'https://hub.example.com/v2/'",
            ),
            (FindingName::CertificateInvalid, "-connect 10.0.0.2:443 -servername hub.example.com"),
            (FindingName::TlsHandshakeRefused, "-connect 10.0.0.2:443 -servername hub.example.com"),
            (
                FindingName::CredentialRefused,
                "curl -su 'robot$prober' 'https://hub.example.com/service/token",
            ),
            (FindingName::TokenKeyMismatch, "scp -p 10.0.0.1:/data/secret/core/private_key.pem"),
            (FindingName::ComponentUnhealthy, "https://hub.example.com/api/v2.0/health'"),
            (FindingName::ComponentUnhealthy, "hub.example.com:443:10.0.0.2"),
            (FindingName::SettingsDiffer, "ssh 10.0.0.1 "),
        ] {
            let all = commands(name);
            assert!(all.iter().any(|it| it.contains(filled)), "{name}: {filled}: {all:#?}");
        }
    }

    #[test]
    fn no_command_keeps_a_word_for_what_is_known() {
        for name in FindingName::ALL {
            for command in commands(*name) {
                for word in [
                    "URL/",
                    "HOST/",
                    "HOST:",
                    "servername HOST",
                    "NODE",
                    "ADDRESS",
                    "GOOD:",
                    "'USER'",
                ] {
                    let directory = command.contains("LDAP_HOST");
                    assert!(directory || !command.contains(word), "{name}: {word}: {command}");
                }
            }
        }
    }
}

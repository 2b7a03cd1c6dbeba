//! The commands that show what a finding rests on: each request that failed, as curl sends it.
//!
//! A command is one line, because curl asks for the password: of several lines that are pasted at
//! once it would take the second one for it. No secret stands in a command or is printed by it.

use url::Url;

use super::facts::{Facts, ObservationId};
use crate::model::{
    AccessScheme, Answer, Flow, Issuer, Observation, ObservationKind, Place, Reproduction, Round,
    Route, Step,
};

/// As many as twelve backends have pairs; a list that is longer shows nothing more.
const MOST: usize = 144;

/// The scope by which the prober asks for an anonymous token where none is configured.
const NO_SCOPE: &str = "registry-prober:none:none";

/// The commands for what a finding explains: one for every failed flow and every failed pair. What
/// goes through the load balancer may meet another node the next time, so it is shown only where
/// nothing failed at a node itself.
pub(super) fn reproduce(facts: &Facts<'_>, won: &[ObservationId]) -> Vec<Reproduction> {
    let seen: Vec<&Observation> = won.iter().map(|id| facts.observation(*id)).collect();
    let sure = seen.iter().any(|seen| has_command(seen) && !seen.place.involves_balancer());
    let chosen = seen.into_iter().filter(|seen| !(sure && seen.place.involves_balancer()));
    let shown = chosen.filter_map(|seen| shown(facts.round, seen));
    let numbered = shown.take(MOST).zip(1..).map(|(shown, number)| {
        let id = format!("{}curl-{number}", facts.round.request_ids);
        Reproduction { command: shown.command.replace(REQUEST_ID, &id), ..shown }
    });
    numbered.collect()
}

/// Whether a single request, or a token and its use, shows it.
fn has_command(seen: &Observation) -> bool {
    matches!(
        seen.kind,
        ObservationKind::PairRefused | ObservationKind::PairFailed | ObservationKind::FlowFailed
    )
}

/// Stands in a command where the id of its request goes.
const REQUEST_ID: &str = "{request-id}";

/// What shows an observation, if a single request or a token and its use do.
fn shown(round: &Round, seen: &Observation) -> Option<Reproduction> {
    let answer = of_challenge(round, seen).or(seen.answer.as_ref());
    let status = answer.map(|answer| answer.status);
    let (text, command) = match (&seen.kind, &seen.place) {
        (
            ObservationKind::PairRefused | ObservationKind::PairFailed,
            Place::Pair { issuer, verifier },
        ) => {
            let text = format!("show a token of {issuer} to {verifier}");
            (text, carried(round, issuer, verifier, "/v2/")?)
        }
        (ObservationKind::FlowFailed, Place::Route { route }) => {
            of_flow(round, round.flow(route)?, seen.step?)?
        }
        _ => return None,
    };
    let found = match status {
        // The status alone does not show what is wrong.
        Some(status) if status < 300 || leads_nowhere(round, seen) => {
            format!("status {status}, but {}", seen.failure.detail)
        }
        Some(status) => format!("status {status}"),
        None => format!("no answer ({})", seen.reason()),
    };
    let chance =
        if seen.place.involves_balancer() { "; another node may answer next time" } else { "" };
    Some(Reproduction { text: format!("{text}: {found}{chance}"), status, command })
}

/// The answer to the first request, where nothing was asked after it: the route did not answer as a
/// registry, or its challenge leads where no password may go.
fn of_challenge<'r>(round: &'r Round, seen: &Observation) -> Option<&'r Answer> {
    let flow = round.flow(seen.place.answering())?;
    let failed = flow.passed(Step::Challenge) == Some(false);
    let only = (seen.kind == ObservationKind::PairFailed && failed) || leads_nowhere(round, seen);
    flow.answer(Step::Challenge).filter(|_| only)
}

/// Whether the flow ended with a challenge that names no token endpoint to go to.
fn leads_nowhere(round: &Round, seen: &Observation) -> bool {
    let flow = round.flow(seen.place.answering());
    seen.kind == ObservationKind::FlowFailed
        && seen.step == Some(Step::Token)
        && flow.is_some_and(|flow| flow.issuer.is_none() && flow.challenge.measured().is_some())
}

/// The failed step of a flow, with what has to come before it.
fn of_flow(round: &Round, flow: &Flow, step: Step) -> Option<(String, String)> {
    let route = &flow.route;
    let repository = || Some(format!("/v2/{}/tags/list", repository(round)?));
    let path = if step == Step::Repository { repository()? } else { "/v2/".to_owned() };
    match (step, flow.scheme) {
        (Step::Challenge, _) | (_, AccessScheme::Open) => {
            let command = Curl::to(round, route)?.status(&path);
            Some((format!("ask {route} for {path} without a token"), command))
        }
        (Step::Access | Step::Repository, AccessScheme::Basic) => {
            let command = Curl::to(round, route)?.with_account(round).status(&path);
            Some((format!("ask {route} for {path} with the password"), command))
        }
        (Step::Token, _) => {
            let Some(issuer) = flow.issuer.as_ref() else {
                let command = Curl::to(round, route)?.challenge();
                return Some((format!("ask {route} for its challenge"), command));
            };
            let command = token_request(round, issuer)?.silent().text;
            Some((format!("ask {issuer} for a token"), command))
        }
        (Step::Access | Step::Repository, AccessScheme::Token) => {
            let issuer = flow.issuer.as_ref()?;
            let command = carried(round, issuer, route, &path)?;
            Some((format!("show a token of {issuer} to {route} at {path}"), command))
        }
        (Step::Check, _) => None,
    }
}

/// Takes a token from its issuer and shows it to a verifier. The token stands in no argument, for
/// those are seen by every user of the machine.
fn carried(round: &Round, issuer: &Issuer, verifier: &Route, path: &str) -> Option<String> {
    let token = token_request(round, issuer)?.text;
    let access = Curl::to(round, verifier)?.with("-H @-").status(path);
    Some(format!(
        "TOKEN=$({token} | grep -oE '\"(access_)?token\" *: *\"[^\"]+\"' | head -n 1 | \
         cut -d '\"' -f 4); {access} <<< \"Authorization: Bearer ${{TOKEN:?no token came}}\""
    ))
}

/// The request for a token, as the route's challenge says.
fn token_request(round: &Round, issuer: &Issuer) -> Option<Curl> {
    let of_issuer = |flow: &&Flow| flow.issuer.as_ref() == Some(issuer);
    let challenge = round.flows.iter().find(of_issuer)?.challenge.measured()?;
    let realm = Url::parse(challenge.realm.as_deref()?).ok()?;
    let (curl, url) = match issuer {
        Issuer::Route(route) => {
            let curl = Curl::to(round, route)?;
            let query = realm.query().map_or(String::new(), |query| format!("?{query}"));
            let url = format!("{}{}{query}", curl.origin, realm.path());
            (curl, url)
        }
        Issuer::Server(_) => (Curl::new(round, String::new()), realm.to_string()),
    };
    let scope = match (&round.scope, &round.caller.username) {
        (Some(scope), _) => Some(scope.as_str()),
        (None, None) => Some(NO_SCOPE),
        (None, Some(_)) => None,
    };
    let service = challenge.service.as_deref().map(|service| ("service", service));
    let mut fields: Vec<(&str, &str)> = service.into_iter().collect();
    fields.extend(scope.map(|scope| ("scope", scope)));
    if round.caller.posts {
        return Some(posted(round, curl, fields).with(&quoted(&url)));
    }
    let curl = fields.into_iter().fold(curl.with_account(round).with("-G"), Curl::with_field);
    Some(curl.with(&quoted(&url)))
}

/// The `OAuth2` form. The password comes from a prompt of its own and goes in by standard input.
fn posted<'a>(round: &'a Round, curl: Curl, mut fields: Vec<(&'a str, &'a str)>) -> Curl {
    fields.push(("client_id", "registry-prober"));
    let Some(username) = &round.caller.username else {
        return fields.into_iter().fold(curl, Curl::with_field);
    };
    fields.extend([("grant_type", "password"), ("username", username.as_str())]);
    let curl = fields.into_iter().fold(curl, Curl::with_field);
    let curl = curl.with("--data-urlencode password@-");
    let prompt = "{ read -rsp 'Password: ' PASSWORD; printf %s \"$PASSWORD\"; }";
    Curl { text: format!("{prompt} | {}", curl.text), ..curl }
}

pub(super) fn repository(round: &Round) -> Option<&str> {
    let (name, _) = round.scope.as_deref()?.strip_prefix("repository:")?.rsplit_once(':')?;
    Some(name)
}

/// How curl asks along a route: the command up to its URL, and scheme, host and port of that.
pub(super) fn asking(round: &Round, route: &Route) -> Option<(String, String)> {
    let Curl { text, origin } = Curl::to(round, route)?;
    Some((text.replace(&format!(" -H 'X-Request-Id: {REQUEST_ID}'"), ""), origin))
}

/// A command in the making.
struct Curl {
    text: String,
    /// Scheme, host and port of the URLs that it is for.
    origin: String,
}

impl Curl {
    fn new(round: &Round, origin: String) -> Self {
        let caller = &round.caller;
        let curl = Self { text: "curl -sS -g -m 10 --noproxy '*'".to_owned(), origin };
        let trust = caller.ca_file.as_ref().map(|file| format!("--cacert {}", quoted(file)));
        let own = caller.client_certificate.as_ref();
        let own = own.map(|(chain, key)| format!("--cert {} --key {}", quoted(chain), quoted(key)));
        let any = caller.skips_verification.then(|| "-k".to_owned());
        let id = format!("-H 'X-Request-Id: {REQUEST_ID}'");
        let options = trust.into_iter().chain(own).chain(any).chain([id]);
        options.fold(curl, |curl, option| curl.with(&option))
    }

    /// One that asks along a route: at the backend's own address, by the public name.
    fn to(round: &Round, route: &Route) -> Option<Self> {
        let public = Url::parse(&round.url).ok()?;
        let (host, port) = (public.host_str()?, public.port_or_known_default()?);
        let at = match route.backend() {
            Some(name) => Some(round.backend(name)?.address.as_str()),
            None => round.caller.balancer.as_deref(),
        };
        let secure = public.scheme() == "https";
        let other = route.backend().is_some_and(|name| round.caller.other_scheme.contains(name));
        if let Some(at) = at.filter(|_| secure && other) {
            // As a balancer that ends TLS asks it.
            let curl = Self::new(round, format!("http://{at}"));
            let named = quoted(&format!("Host: {}", round.url.trim_start_matches("https://")));
            return Some(curl.with(&format!("-H {named} -H 'X-Forwarded-Proto: https'")));
        }
        let origin = if other {
            format!("https://{host}:{port}")
        } else {
            round.url.trim_end_matches('/').to_owned()
        };
        let curl = Self::new(round, origin);
        Some(match at {
            Some(at) => curl.with(&pin(host, port, at)),
            None => curl,
        })
    }

    fn with(mut self, option: &str) -> Self {
        self.text.push(' ');
        self.text.push_str(option);
        self
    }

    /// curl asks for the password, and shows no letter of it.
    fn with_account(self, round: &Round) -> Self {
        match &round.caller.username {
            Some(username) => self.with(&format!("-u {}", quoted(username))),
            None => self,
        }
    }

    fn with_field(self, (name, value): (&str, &str)) -> Self {
        self.with(&format!("--data-urlencode {}", quoted(&format!("{name}={value}"))))
    }

    /// Prints the status alone.
    fn silent(self) -> Self {
        self.with(r"-o /dev/null -w '%{http_code}\n'")
    }

    /// The command that prints the challenge of `/v2/` and the status.
    fn challenge(self) -> String {
        let url = quoted(&format!("{}/v2/", self.origin));
        let silent = self.with("-D /dev/stderr").silent().with(&url).text;
        format!("{silent} 2>&1 | grep -iE '^(www-authenticate:|[0-9]{{3}}$)'")
    }

    /// The command that asks for a path and prints the status.
    fn status(self, path: &str) -> String {
        let url = quoted(&format!("{}{path}", self.origin));
        self.silent().with(&url).text
    }
}

/// Where curl connects instead of asking DNS.
fn pin(host: &str, port: u16, at: &str) -> String {
    let (address, at_port) = at.rsplit_once(':').unwrap_or((at, ""));
    let bare = address.trim_matches(['[', ']']);
    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    if at_port == port.to_string() && is_address(bare) && !is_address(host.trim_matches(['[', ']']))
    {
        format!("--resolve {}", quoted(&format!("{host}:{port}:{address}")))
    } else {
        format!("--connect-to {}", quoted(&format!("{host}:{port}:{at}")))
    }
}

/// A word as a shell takes it, whatever is in it; servers write some of these.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let harmless = |c: char| if c.is_control() { '?' } else { c };
    let text: String = word.chars().map(harmless).collect();
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::verdict::judge;
    use crate::model::sample::{backend, changed, fail, refuse};
    use crate::model::{Earlier, Outcome, Reason};

    fn commands(round: &Round) -> Vec<String> {
        let findings = judge(round, &Earlier::default()).findings;
        let shown = findings.into_iter().flat_map(|finding| finding.reproduce);
        shown.map(|shown| format!("{}\n{}", shown.text, shown.command)).collect()
    }

    #[test]
    fn a_refused_pair_is_shown_by_a_token_of_one_node_at_the_other() {
        let round = changed(&["a", "b"], |round| refuse(round, "a", "b"));
        assert_eq!(
            commands(&round),
            ["show a token of a to b: status 401\n\
              TOKEN=$(curl -sS -g -m 10 --noproxy '*' \
              -H 'X-Request-Id: registry-prober-00000000000000ff-curl-1' \
              --resolve hub.example.com:443:10.0.0.1 -u 'robot$prober' -G \
              --data-urlencode service=harbor-registry https://hub.example.com/service/token | \
              grep -oE '\"(access_)?token\" *: *\"[^\"]+\"' | head -n 1 | cut -d '\"' -f 4); \
              curl -sS -g -m 10 --noproxy '*' \
              -H 'X-Request-Id: registry-prober-00000000000000ff-curl-1' \
              --resolve hub.example.com:443:10.0.0.2 -H @- -o /dev/null -w '%{http_code}\\n' \
              https://hub.example.com/v2/ <<< \"Authorization: Bearer ${TOKEN:?no token came}\""]
        );
    }

    #[test]
    fn every_refused_pair_and_every_failed_step_has_its_command() {
        let round = changed(&["a", "b", "c"], |round| {
            round.scope = Some("repository:probe/canary:pull".into());
            for (issuer, verifier) in [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")] {
                refuse(round, issuer, verifier);
            }
            fail(round, "c", Step::Repository, Reason::Forbidden);
        });
        let commands = commands(&round);
        for text in [
            "show a token of a to b: status 401",
            "show a token of b to a: status 401",
            "show a token of b to c: status 401",
            "show a token of c to b: status 401",
            "show a token of c to c at /v2/probe/canary/tags/list",
        ] {
            assert!(commands.iter().any(|shown| shown.starts_with(text)), "{text}: {commands:#?}");
        }
    }

    #[test]
    fn a_realm_that_leads_elsewhere_is_shown_by_the_challenge() {
        let round = changed(&["a", "b"], |round| {
            fail(round, "b", Step::Token, Reason::RealmNotAllowed);
            round.flows[1].issuer = None;
        });
        let shown = commands(&round).join("\n");
        assert!(shown.contains("ask b for its challenge: status 401, but "), "{shown}");
        let asked = "-D /dev/stderr -o /dev/null -w '%{http_code}\\n' \
                     https://hub.example.com/v2/ 2>&1 | \
                     grep -iE '^(www-authenticate:|[0-9]{3}$)'";
        assert!(shown.contains(asked), "{shown}");
    }

    #[test]
    fn a_node_behind_a_balancer_that_ends_tls_is_asked_as_that_balancer_asks_it() {
        let round = changed(&["a", "b"], |round| {
            round.caller.other_scheme.insert(backend("b"));
            round.backends[1].address = "10.0.0.2:8080".into();
            fail(round, "b", Step::Challenge, Reason::ServerError);
        });
        let shown = commands(&round).join("\n");
        let asked = "-H 'Host: hub.example.com' -H 'X-Forwarded-Proto: https' -o /dev/null \
                     -w '%{http_code}\\n' http://10.0.0.2:8080/v2/";
        assert!(shown.contains(asked), "{shown}");
    }

    #[test]
    fn where_the_port_or_the_kind_of_name_differs_curl_is_led_there_as_well() {
        for (host, at, option) in [
            ("hub.example.com", "10.0.0.1:443", "--resolve hub.example.com:443:10.0.0.1"),
            ("hub.example.com", "[fd00::1]:443", "--resolve 'hub.example.com:443:[fd00::1]'"),
            ("hub.example.com", "10.0.0.1:8443", "--connect-to hub.example.com:443:10.0.0.1:8443"),
            ("hub.example.com", "a.example:443", "--connect-to hub.example.com:443:a.example:443"),
            ("10.0.0.9", "10.0.0.1:443", "--connect-to 10.0.0.9:443:10.0.0.1:443"),
        ] {
            assert_eq!(pin(host, 443, at), option);
        }
    }

    #[test]
    fn nothing_that_a_server_writes_becomes_a_command() {
        let evil = "x'; touch /tmp/y; echo '$(id)`id`\n\u{1b}";
        let round = changed(&["a", "b"], |round| {
            for flow in &mut round.flows {
                if let Outcome::Measured(challenge) = &mut flow.challenge {
                    challenge.service = Some(evil.into());
                }
            }
            refuse(round, "a", "b");
        });
        let shown = commands(&round).join("\n");
        let field = r"'service=x'\''; touch /tmp/y; echo '\''$(id)`id`??'";
        assert!(shown.contains(field), "{shown}");
    }

    #[test]
    fn a_token_by_post_takes_the_password_from_a_prompt() {
        let round = changed(&["a", "b"], |round| {
            round.caller.posts = true;
            refuse(round, "a", "b");
        });
        let shown = commands(&round).join("\n");
        let prompt =
            "TOKEN=$({ read -rsp 'Password: ' PASSWORD; printf %s \"$PASSWORD\"; } | curl ";
        assert!(shown.contains(prompt), "{shown}");
        assert!(shown.contains("--data-urlencode password@- https://"), "{shown}");
    }

    #[test]
    fn a_registry_that_takes_passwords_alone_is_shown_the_password() {
        let round = changed(&["a", "b"], |round| {
            round.caller.ca_file = Some("/etc/own ca.pem".into());
            round.backends[1].address = "[fd00::2]:443".into();
            for flow in &mut round.flows {
                flow.scheme = AccessScheme::Basic;
            }
            fail(round, "b", Step::Access, Reason::Unauthorized);
        });
        let shown = commands(&round).join("\n");
        let command = "curl -sS -g -m 10 --noproxy '*' --cacert '/etc/own ca.pem' \
                       -H 'X-Request-Id: registry-prober-00000000000000ff-curl-1' \
                       --resolve 'hub.example.com:443:[fd00::2]' -u 'robot$prober' \
                       -o /dev/null -w '%{http_code}\\n' https://hub.example.com/v2/";
        assert!(shown.contains(command), "{shown}");
        assert!(!shown.contains("TOKEN"), "{shown}");
    }
}

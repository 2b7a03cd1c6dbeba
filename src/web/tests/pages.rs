//! What the status page says, and that it says nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::model::sample;
use crate::model::{
    BodyLimit, CellResult, Checked, ClientKind, ClientRun, ClientView, ClockInterval,
    ComponentHealth, Confidence, Content, ContentAt, ContentFound, CsrfVerdict, Estimate, Failure,
    FindingName, Judged, OfPair, OfRoute, Outcome, Ratio, Reason, Round, SessionVerdict, Setting,
    Severity, Share, Skipped, Snapshot, Step, Told, UploadVerdict, Uploads,
};
use crate::web::page::render;

/// The page 12 s after the sample round began.
fn page(snapshot: &Snapshot) -> String {
    render(snapshot, &[], sample::started() + Duration::from_secs(12), false).unwrap()
}

/// Text and attributes without the markup's line breaks.
fn squeezed(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ").replace('\u{a0}', " ")
}

fn broken() -> Arc<Judged> {
    let round = sample::changed(&["harbor-01", "harbor-02", "harbor-03"], |round| {
        sample::sign_with(round, "harbor-02", sample::OTHER_KEY);
        for other in ["harbor-01", "harbor-03", "lb"] {
            sample::refuse(round, "harbor-02", other);
            sample::refuse(round, other, "harbor-02");
        }
        for cell in &mut round.matrix.cells {
            if cell.issuer.as_str() == "harbor-02" {
                cell.key = Some(crate::model::KeyId::from_wire(sample::OTHER_KEY));
            }
        }
        if let Some(refusal) = round.matrix.cells.iter_mut().find_map(|c| match &mut c.result {
            CellResult::Refused(refusal) if c.verifier.as_str() == "lb" => Some(refusal),
            _ => None,
        }) {
            refusal.healed_after = Some(0.5);
        }
        sample::fail(round, "harbor-03", Step::Token, Reason::GatewayTimeout);
        let failure = Failure::of_answer(Reason::GatewayTimeout, "504 from nginx");
        sample::set_cell(
            round,
            "harbor-01",
            "harbor-03",
            CellResult::Failed { failure, answer: None },
        );
        for verifier in ["harbor-01", "harbor-03", "lb"] {
            let skipped = CellResult::Skipped { reason: Skipped::NoToken };
            sample::set_cell(round, "harbor-03", verifier, skipped);
        }
        for clock in round.clocks.iter_mut().filter(|c| c.backend.as_str() == "harbor-03") {
            clock.interval = ClockInterval::between(-3.9, -3.1);
        }
        round.certificates[1].not_after = sample::started() + Duration::from_secs(9 * 86_400);
        if let Outcome::Measured(run) = &mut round.balancer {
            run.pairs = Ratio { events: 9, trials: 20 };
            run.client_flows = Ratio { events: 7, trials: 20 };
            sample::lose(run, 2, Reason::GatewayTimeout);
            run.affinity_cookie = Some("SERVERID".into());
        }
    });
    let mut mismatch =
        sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["harbor-02"]);
    mismatch.summary = "harbor-02 signs its tokens with another key than harbor-01.".into();
    mismatch.effect = "44 % of all pulls through the load balancer are answered with 401.".into();
    mismatch.evidence = vec![
        "harbor-02 signs with key Q2AW:W5TJ, harbor-01 with ROZD:ZLAK".into(),
        "6 of 6 pairs between them are refused with 401, also 8.5 s later".into(),
    ];
    mismatch.remedies = vec![
        sample::remedy(
            "Copy `/data/secret/core/private_key.pem` of harbor-01 to harbor-02 and run \
             `docker compose restart core registry` there.",
            &[],
        ),
        sample::remedy("Until then take harbor-02 out of the load balancer.", &[]),
    ];
    mismatch.confirm = "`sha256sum /data/secret/core/private_key.pem` on both nodes".into();
    let mut gateway = sample::finding(FindingName::ServerErrors, Severity::Warning, &["harbor-03"]);
    gateway.confidence = Confidence::Suspected;
    gateway.alternatives = vec![FindingName::DatabaseUnavailable];
    gateway.summary = "harbor-03 answers the token request with 504.".into();
    let judged = sample::judged(round, vec![mismatch, gateway]);
    let mut judged = Arc::unwrap_or_clone(judged);
    judged.assessment.expected_unauthorized = Some(0.444);
    judged.assessment.unauthorized_interval = Some((0.258, 0.658));
    judged.assessment.shares.push(Share {
        backend: None,
        share: 0.05,
        interval: None,
        distinct: true,
    });
    judged.assessment.shares[1].distinct = false;
    judged.assessment.clock_margin = Some(-3.1);
    let estimate = |value| Estimate { value, lower: value / 2.0, upper: 1.0 };
    let run =
        ClientRun { logins: Ratio { events: 3, trials: 5 }, ..ClientRun::of(ClientKind::Docker) };
    judged.assessment.clients =
        vec![ClientView { run, login: estimate(0.6), pull: Some(estimate(0.97)), push: None }];
    Arc::new(judged)
}

fn renamed(name: &str, judged: &Judged) -> Arc<Judged> {
    let mut judged = judged.clone();
    judged.round.registry = sample::registry(name);
    Arc::new(judged)
}

#[test]
fn the_verdict_and_the_cure_come_before_the_figures() {
    let page = page(&sample::snapshot(&[broken()]));
    let order = [
        "<title>critical · registry-prober</title>",
        "harbor-02 signs its tokens with another key than harbor-01. And 1\u{a0}more finding.",
        "token-key-mismatch",
        "<a class=\"book\" href=\"runbooks/token-key-mismatch\">Runbook</a>",
        "What to do",
        "docker compose restart core registry",
        "server-errors",
        "Who accepts whose tokens",
        "Routes",
        "Through the load balancer",
        "Clocks",
    ];
    let mut rest = page.as_str();
    for part in order {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{part} is not next"));
        rest = after;
    }
}

#[test]
fn every_state_is_told_in_words_as_well_as_in_colour() {
    let page = squeezed(&page(&sample::snapshot(&[broken()])));
    for words in [
        "<span aria-hidden=\"true\">✕</span> critical",
        "</span> accepted</td>",
        "</span> refused<small>401, 5 ×</small></td>",
        "refused<small>401, accepted after 500 ms</small></td>",
        "</span> no answer<small>gateway_timeout</small></td>",
        "</span> not tried<small>no token</small></td>",
        "token<span class=\"unseen\"> failed</span>",
        "access<span class=\"unseen\"> did not run</span>",
        "<strong>token: gateway_timeout</strong> – as ordered",
        "<span class=\"tag\">suspected</span>",
        "fits <a href=\"runbooks/database-unavailable\"><code>database-unavailable</code></a> as well",
        "<strong>45 %</strong> <small>9 of 20; true value between 26 % and 66 %</small>",
        "<strong>44 %</strong>",
        "<small>first: gateway_timeout</small>",
        "unknown",
        "not distinguishable, equal share",
        "cookie <code>SERVERID</code>",
        "<strong class=\"critical\">−3.10 s</strong>: tokens are refused because of",
        "<td>−3500.0 ms</td><td>400.0 ms</td><td>60 s</td>",
        "▲ 8 d left",
        "measured <time>10 s ago</time> in 1.50 s, every 15 s",
        "2 different signing keys",
        "token of ↓ shown to →",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn a_healthy_registry_says_what_was_seen_to_be_right() {
    let healthy = sample::judged(sample::round(&["a", "b"]), Vec::new());
    let page = squeezed(&page(&sample::snapshot(&[healthy])));
    assert!(page.contains("All OK: 3 of 3 routes work, every node accepts every token."));
    for word in
        ["</span> refused", "✕", "▲", "Out of date", "different signing keys", "class=\"finding"]
    {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_backend_shows_the_version_and_the_settings_that_it_told() {
    let told = |value: &str| Told { value: value.to_owned(), settled: true };
    let round = sample::changed(&["a", "b"], |round| {
        let facts = &mut round.backends[0];
        facts.version = Outcome::Measured(None);
        facts.settings.insert(Setting::HarborVersion, told("2.15.2"));
        facts.settings.insert(Setting::AuthMode, told("<b>ldap_auth"));
        facts.settings.insert(Setting::TlsVersion, told("1.3"));
    });
    let page = squeezed(&page(&sample::snapshot(&[sample::judged(round, Vec::new())])));
    assert!(page.contains("<small>harbor-2 2.15.2</small>"));
    assert!(page.contains("<small>auth mode &#60;b&#62;ldap_auth, tls version 1.3</small>"));
    assert!(page.contains("<small>harbor-2 2.10.3</small></th>"), "b told no setting");
}

#[test]
fn several_registries_are_listed_worst_first() {
    let healthy = sample::judged(sample::round(&["a", "b"]), Vec::new());
    let snapshot = sample::snapshot(&[
        renamed("alpha", &healthy),
        renamed("beta", &broken()),
        renamed("gamma", &healthy),
    ]);
    let page = page(&snapshot);
    assert!(page.contains("<title>1 critical, 2 ok · registry-prober</title>"));
    let places: Vec<usize> = ["beta", "alpha", "gamma"]
        .iter()
        .map(|name| page.find(&format!("<a href=\"#registry-{name}\">")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn nothing_that_came_from_the_network_becomes_markup() {
    const EVIL: &str = "<script>alert(1)</script><img src=x onerror=\"a\">'&";
    let mut judged = Arc::unwrap_or_clone(broken());
    let finding = &mut judged.assessment.findings[0];
    for text in [&mut finding.summary, &mut finding.effect, &mut finding.confirm] {
        *text = EVIL.into();
    }
    finding.evidence = vec![EVIL.into()];
    finding.remedies =
        vec![sample::remedy(&format!("`{EVIL}`"), &[EVIL]), sample::remedy(EVIL, &[])];
    let round: &mut Round = &mut judged.round;
    round.url = EVIL.into();
    round.backends[0].address = EVIL.into();
    round.certificates[0].invalid = Some(EVIL.into());
    sample::fail(round, "harbor-01", Step::Access, Reason::Html);
    if let crate::model::FlowResult::Failed { failure, .. } = &mut round.flows[0].result {
        failure.detail = EVIL.into();
    }
    for cell in &mut round.matrix.cells {
        cell.issuer = crate::model::Issuer::Server(EVIL.into());
        cell.key = Some(crate::model::KeyId::from_wire(EVIL));
    }
    if let Outcome::Measured(run) = &mut round.balancer {
        run.affinity_cookie = Some(EVIL.into());
    }
    let mut snapshot = sample::snapshot(&[Arc::new(judged)]);
    snapshot.program.reload_error = Some(EVIL.into());
    let page = page(&snapshot);
    assert!(page.matches("alert(1)").count() >= 10, "the texts are there");
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(!page.contains("onerror=\""));
}

#[test]
fn the_page_needs_nothing_that_its_policy_forbids() {
    let page = page(&sample::snapshot(&[broken()]));
    for forbidden in ["<script", " style=", " onclick", "http-equiv=\"Content", "src=\"http"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(!link.starts_with("http") && !link.starts_with('/'), "{link} leaves the page");
    }
}

#[test]
fn an_old_round_and_a_refused_configuration_are_said() {
    let mut snapshot = sample::snapshot(&[broken()]);
    snapshot.program.reload_error = Some("prober.yml:3:5: unknown key".into());
    let later = sample::started() + Duration::from_secs(300);
    let page = squeezed(&render(&snapshot, &[], later, false).unwrap());
    assert!(page.contains("<strong>Out of date:</strong> measured <time>5 min ago</time>"));
    assert!(page.contains("prober.yml:3:5: unknown key"));
}

#[test]
fn many_backends_are_shown_by_groups_and_what_has_none_as_a_list() {
    let names: Vec<String> = (0..30).map(|n| format!("n{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown =
        |round: Round| squeezed(&page(&sample::snapshot(&[sample::judged(round, Vec::new())])));
    let odd = shown(sample::changed(&names, |round| {
        for other in names.iter().filter(|name| **name != "n07") {
            sample::refuse(round, other, "n07");
            sample::refuse(round, "n07", other);
        }
    }));
    assert!(odd.contains("<th scope=\"row\">n00, n01, n02 and 26 more<small>"), "{odd}");
    assert!(odd.contains("<th scope=\"row\">n07<small>"), "{odd}");
    assert!(odd.matches("</span> refused<small>").count() <= 4);
    let wild = shown(sample::changed(&names, |round| {
        for (index, verifier) in names.iter().enumerate() {
            for issuer in &names[index % 13..index % 13 + 5] {
                sample::refuse(round, issuer, verifier);
            }
        }
    }));
    assert!(!wild.contains("class=\"matrix"));
    assert_eq!(wild.matches("✕ refused").count(), 100);
    assert!(wild.contains("And 50 more."));
    let healthy = shown(sample::round(&names));
    assert!(healthy.contains("</span> accepted<small>900 tried</small>"), "{healthy}");
    assert!(healthy.contains("30 clocks are within"), "{healthy}");
    assert!(healthy.contains("30 more nodes where every step passed"), "{healthy}");
}

#[test]
fn a_finding_says_since_when_in_minutes_and_by_the_clock() {
    let round = sample::round(&["a", "b"]);
    let mut finding = sample::finding(FindingName::TokenKeyMismatch, Severity::Critical, &["b"]);
    finding.since = sample::started() - chrono::TimeDelta::minutes(12);
    finding.remedies = vec![sample::remedy("Copy the key.", &["scp a b", "docker restart core"])];
    let page = squeezed(&page(&sample::snapshot(&[sample::judged(round, vec![finding])])));
    let time = (sample::started() - chrono::TimeDelta::minutes(12)).format("%H:%M");
    assert!(page.contains(&format!("since 12 min ({time} UTC)")), "{page}");
    assert!(page.contains("<pre tabindex=\"0\">scp a b</pre>"), "each command is copied alone");
}

fn made<T>(found: T) -> Checked<T> {
    Checked { at: Some(sample::started()), requests: 9, found: Outcome::Measured(found) }
}

/// Every pair of these backends.
fn carried<T>(names: &[&str], value: impl Fn(&str, &str) -> Outcome<T>) -> Vec<OfPair<T>> {
    let mut pairs = Vec::new();
    for (issuer, verifier) in names.iter().flat_map(|i| names.iter().map(move |v| (i, v))) {
        let value = value(issuer, verifier);
        let (issuer, verifier) = (sample::backend(issuer), sample::backend(verifier));
        pairs.push(OfPair { issuer, verifier, value });
    }
    pairs
}

#[test]
fn what_the_checks_carried_is_shown_as_the_tokens_are() {
    let names = ["a", "b", "c"];
    let round = sample::changed(&names, |round| {
        let csrf = carried(&names, |issuer, verifier| match (issuer, verifier) {
            ("a", "b") => Outcome::Measured(CsrfVerdict::UnknownKey),
            ("b", "a") => Outcome::Failed(Failure::of_answer(Reason::BadGateway, "")),
            ("c", "a") => Outcome::Skipped(Skipped::BackingOff),
            _ => Outcome::Measured(CsrfVerdict::Accepted),
        });
        round.checks.csrf = made(csrf);
        let known =
            |_: &str, _: &str| Outcome::Measured(UploadVerdict::KnownLate { after_ms: 500 });
        let pairs = carried(&names, known);
        round.checks.upload = made(Uploads { pairs, ..Uploads::default() });
    });
    let page = squeezed(&page(&sample::snapshot(&[sample::judged(round, Vec::new())])));
    let (_, panel) = page.split_once("What else the backends accept from each other").unwrap();
    for words in [
        "<h3>CSRF cookies</h3>",
        "6 accepted, 1 refused, 1 without an answer, 1 not tried",
        "cookie of ↓ shown to →",
        "<td class=\"critical\"><span aria-hidden=\"true\">✕</span> refused<small>unknown key</small></td>",
        "<td class=\"warning\"><span aria-hidden=\"true\">!</span> no answer<small>bad_gateway</small></td>",
        "<td class=\"none\"><span aria-hidden=\"true\">–</span> not tried<small>backing off</small></td>",
        "<h3>Uploads</h3>",
        "<td class=\"ok\"><span aria-hidden=\"true\">✓</span> accepted<small>after 500 ms</small></td>",
    ] {
        assert!(panel.contains(words), "{words}");
    }
    assert!(!panel.contains("<h3>Sessions</h3>"), "that check was not made");
    let healthy = sample::judged(sample::round(&names), Vec::new());
    let page = super::pages::page(&sample::snapshot(&[healthy]));
    assert!(!page.contains("What else the backends accept"), "none of them was made");
}

#[test]
fn a_matrix_of_many_backends_waits_for_a_click_unless_something_is_wrong() {
    let all: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (count, odd, folded) in
        [(4, false, false), (5, false, true), (5, true, false), (12, false, true)]
    {
        let round = sample::changed(&all[..count], |round| {
            round.checks.session = made(carried(&all[..count], |_, verifier| {
                Outcome::Measured(match verifier {
                    "n1" if odd => SessionVerdict::Unknown,
                    _ => SessionVerdict::Known,
                })
            }));
        });
        let page = page(&sample::snapshot(&[sample::judged(round, Vec::new())]));
        let waits = page.contains("<details><summary>Every pair");
        assert_eq!(waits, folded, "{count} {odd}");
        assert_eq!(page.contains("matrix signs"), count > 8, "{count}: signs alone");
        let words =
            page.matches("accepted</span>").count() + page.matches("</span> accepted").count();
        let pairs = count * count - if odd { count } else { 0 };
        // The tokens' matrix has one route more.
        assert_eq!(words, pairs + (count + 1).pow(2), "{count} {odd}: each in words");
        assert_eq!(page.matches("session of ↓").count(), 1, "{count} {odd}: it is there");
    }
}

#[test]
fn above_twelve_backends_what_a_check_found_wrong_is_a_list() {
    let names: Vec<String> = (0..14).map(|n| format!("n{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown = |odd: &str| {
        let round = sample::changed(&names, |round| {
            // Everybody's own, and what the first gave.
            let mut pairs = carried(&names, |issuer, verifier| {
                let refused = issuer != verifier && verifier == odd;
                Outcome::Measured(if refused {
                    CsrfVerdict::UnknownKey
                } else {
                    CsrfVerdict::Accepted
                })
            });
            let first = sample::backend("n00");
            pairs.retain(|pair| pair.issuer == pair.verifier || pair.issuer == first);
            round.checks.csrf = made(pairs);
        });
        let page = squeezed(&page(&sample::snapshot(&[sample::judged(round, Vec::new())])));
        page.split_once("<h3>CSRF cookies</h3>").unwrap().1.to_owned()
    };
    let panel = shown("n07");
    assert!(panel.contains("26 accepted, 1 refused, 0 without an answer, 169 not tried"));
    assert!(panel.contains(
        "<th scope=\"row\">n00</th><td>n07</td><td class=\"critical\">✕ refused <small>unknown key</small></td>"
    ));
    assert!(panel.contains("a round does not try every pair"));
    assert!(shown("nobody").contains("Every pair that was tried was accepted."));
}

#[test]
fn what_checks_found_at_single_backends_stands_next_to_them() {
    let names = ["a", "b", "c"];
    let told = |healthy| {
        let told = ["core", "redis"].map(|name| ComponentHealth {
            component: name.to_owned(),
            healthy: healthy || name == "core",
        });
        Outcome::Measured(told.to_vec())
    };
    let shown = |well: bool| {
        let round = sample::changed(&names, |round| {
            let health = names.map(|name| OfRoute {
                route: sample::route(name),
                value: told(well || name != "b"),
            });
            round.checks.health = made(health.to_vec());
            let limit = |name| OfRoute {
                route: sample::route(name),
                value: match name {
                    "lb" => Outcome::Skipped(Skipped::BackingOff),
                    "b" if !well => {
                        Outcome::Measured(BodyLimit { passes: 1 << 20, refused: Some(2 << 20) })
                    }
                    _ => Outcome::Measured(BodyLimit { passes: 20 << 30, refused: None }),
                },
            };
            round.checks.body_limit = made(["a", "b", "c", "lb"].map(limit).to_vec());
            let at = |name: &str| ContentAt {
                backend: sample::backend(name),
                found: Outcome::Measured(ContentFound {
                    listed: true,
                    tagged: Some("sha256:aa".to_owned()),
                    manifest: well || name != "b",
                    ..ContentFound::default()
                }),
            };
            round.checks.content = made(Content {
                repository: "probe/canary".to_owned(),
                tag: "canary".to_owned(),
                digest: "sha256:aa".to_owned(),
                config: None,
                at: names.iter().map(|name| at(name)).collect(),
                through: Outcome::Measured(()),
            });
        });
        squeezed(&page(&sample::snapshot(&[sample::judged(round, Vec::new())])))
    };
    for (well, words) in [
        (true, "6 components are reported healthy"),
        (true, "there at a, b, c"),
        (true, "no limit up to 20 GiB: a, b, c"),
        (true, "unknown for lb"),
        (false, "<span class=\"critical\">✕ not healthy: redis at b</span>"),
        (false, "<span class=\"critical\">✕ missing or different at b</span>"),
        (false, "there at a, c"),
        (false, "1 MiB passes and 2 MiB does not: b"),
        (false, "no limit up to 20 GiB: a, c"),
    ] {
        assert!(shown(well).contains(words), "{words}");
    }
}

#[test]
fn what_each_kind_of_client_feels_stands_with_its_interval() {
    let page = squeezed(&page(&sample::snapshot(&[broken()])));
    for words in [
        "docker <small>3 of 5 logins failed</small>",
        "<td><strong>60 %</strong> <small>30 % to 100 %</small></td>",
        "<td><strong>97 %</strong> <small>48 % to 100 %</small></td>",
        "<td>not known</td>",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn the_commands_that_show_a_finding_wait_for_a_click() {
    let page = squeezed(&page(&sample::snapshot(&[broken()])));
    let shown = "<summary>Commands that show it</summary>";
    let (_, after) = page.split_once(shown).expect("a finding has commands");
    let (commands, _) = after.split_once("</details>").expect("they end");
    assert!(commands.contains("show a token of b to a: status 401"), "{commands}");
    assert!(commands.contains("<pre>curl -u &#39;robot$prober&#39; https://"), "{commands}");
}

#[test]
fn what_was_not_measured_says_why() {
    let round = sample::changed(&["a"], |round| {
        round.balancer = Outcome::Skipped(Skipped::Disabled);
        round.clocks.clear();
        round.matrix.cells.clear();
        round.certificates.clear();
    });
    let page = squeezed(&page(&sample::snapshot(&[sample::judged(round, Vec::new())])));
    for words in [
        "Not sampled: disabled.",
        "No clock could be read in this round.",
        "No token was shown to another node in this round.",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

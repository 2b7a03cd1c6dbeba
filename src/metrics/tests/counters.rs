//! What must live on, what must be there from the start, and what must go.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, rich, value};
use crate::model::sample;
use crate::model::{Cell, Issuer, Judged, Reason, Round, Step};

#[test]
fn every_known_series_is_zero_before_the_first_round() {
    let page = Bench::new(sample::fresh_snapshot(&["a", "b"])).text();
    let mut zero = vec![
        "rounds_total{registry=\"main\"}".to_owned(),
        "rounds_overrun_total{registry=\"main\"}".to_owned(),
        "round_duration_seconds_count{registry=\"main\"}".to_owned(),
        "findings{registry=\"main\",severity=\"critical\"}".to_owned(),
    ];
    for client in ["docker", "podman", "containerd"] {
        zero.push(format!("client_flows_total{{registry=\"main\",client=\"{client}\"}}"));
        zero.push(format!("client_flow_failures_total{{registry=\"main\",client=\"{client}\"}}"));
    }
    for route in ["a", "b", "lb"] {
        let labels = format!("registry=\"main\",route=\"{route}\"");
        zero.push(format!("flows_total{{{labels}}}"));
        zero.push(format!("flow_seconds_total{{{labels}}}"));
        zero.push(format!(
            "flow_failures_total{{{labels},step=\"access\",reason=\"unauthorized\"}}"
        ));
        for code in [200, 401] {
            zero.push(format!("responses_total{{{labels},code=\"{code}\"}}"));
            zero.push(format!("authenticated_responses_total{{{labels},code=\"{code}\"}}"));
        }
        for metric in ["checks", "refusals"] {
            zero.push(format!(
                "token_cross_{metric}_total{{registry=\"main\",verifier=\"{route}\"}}"
            ));
        }
    }
    for phase in ["dns", "connect", "tls", "wait", "transfer"] {
        zero.push(format!("phase_seconds_total{{registry=\"main\",phase=\"{phase}\"}}"));
    }
    for step in ["challenge", "token", "access", "repository"] {
        zero.push(format!("step_duration_seconds_count{{registry=\"main\",step=\"{step}\"}}"));
    }
    for series in zero {
        assert_eq!(value(&page, &series), Some(0.0), "{series}");
    }
    for gauge in ["flow_success{", "token_cross_valid{", "finding_active{", "last_round"] {
        assert!(!page.contains(&format!("registry_prober_{gauge}")), "{gauge} is invented");
    }
}

#[test]
fn without_a_scope_the_repository_step_is_gone_after_the_first_round() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    bench.finish(&[sample::judged(sample::round(&["a", "b"]), Vec::new())]);
    assert!(!bench.text().contains("step=\"repository\""));
    bench.finish(&[rich()]);
    bench.finish(&[rich()]);
    assert!(
        bench.text().contains("step_duration_seconds_count{registry=\"main\",step=\"repository\"}")
    );
}

#[test]
fn counters_of_what_stays_survive_and_what_is_gone_vanishes() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    let main = sample::judged(sample::round(&["a", "b"]), Vec::new());
    let other = |round: &mut Round| round.registry = sample::registry("other");
    let second = sample::judged(sample::changed(&["x"], other), Vec::new());
    bench.finish(&[main.clone(), second]);
    bench.counters.overrun(&sample::registry("main"));
    assert!(bench.text().contains("registry=\"other\""));

    let smaller = sample::judged(sample::round(&["a"]), Vec::new());
    bench.finish(&[smaller]);
    let page = bench.text();
    for gone in ["\"b\"", "\"other\"", "\"x\""] {
        assert!(!page.contains(gone), "{gone}");
    }
    assert_eq!(value(&page, "flows_total{registry=\"main\",route=\"a\"}"), Some(2.0));
    assert_eq!(value(&page, "rounds_total{registry=\"main\"}"), Some(2.0));
    assert_eq!(value(&page, "rounds_overrun_total{registry=\"main\"}"), Some(1.0));

    // A round that was under way when its backend left does not bring it back.
    bench.counters.observe(&main);
    assert!(!bench.text().contains("\"b\""));
    bench.finish(&[main]);
    let page = bench.text();
    assert_eq!(value(&page, "flows_total{registry=\"main\",route=\"b\"}"), Some(1.0));
}

#[test]
fn a_day_of_pods_that_come_fail_and_go_leaves_no_series_behind() {
    let bench = Bench::new(sample::fresh_snapshot(&["pod-0", "pod-1", "pod-2"]));
    let series = || bench.text().lines().filter(|line| !line.starts_with('#')).count();
    let of = |first: u32, failed: bool| {
        let names = [0, 1, 2].map(|more| format!("pod-{}", first + more));
        let names = names.each_ref().map(String::as_str);
        sample::changed(&names, |round| {
            if failed {
                sample::fail(round, names[0], Step::Token, Reason::Timeout);
            }
        })
    };
    let round = |first, failed| bench.finish(&[sample::judged(of(first, failed), Vec::new())]);
    round(0, false);
    let before = series();
    // One pod is replaced every five minutes; the oldest fails before it goes.
    for first in 0..288 {
        round(first, true);
        round(first + 1, false);
    }
    assert_eq!(series(), before);
}

#[test]
fn a_changed_key_is_dated_and_the_first_one_is_no_change() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    let series = |backend: &str| {
        format!(
            "token_key_last_change_timestamp_seconds{{registry=\"main\",backend=\"{backend}\"}}"
        )
    };
    bench.finish(&[sample::judged(sample::round(&["a", "b"]), Vec::new())]);
    assert_eq!(value(&bench.text(), &series("a")), Some(0.0));

    let later = sample::changed(&["a", "b"], |round| {
        round.started += Duration::from_secs(60);
        sample::sign_with(round, "b", sample::OTHER_KEY);
    });
    bench.finish(&[sample::judged(later, Vec::new())]);
    let without_token = sample::changed(&["a", "b"], |round| {
        round.started += Duration::from_secs(120);
        sample::fail(round, "b", Step::Token, Reason::Timeout);
        sample::sign_with(round, "a", sample::KEY);
    });
    bench.finish(&[sample::judged(without_token, Vec::new())]);
    let page = bench.text();
    assert_eq!(value(&page, &series("a")), Some(0.0));
    assert_eq!(value(&page, &series("b")), Some(1_795_000_060.0));
}

/// A round whose tokens all come from a server with an authority of its own.
fn of_server(authority: &str) -> Arc<Judged> {
    let round = sample::changed(&["a", "b"], |round| {
        let issuer = Issuer::Server(authority.into());
        for flow in &mut round.flows {
            flow.issuer = Some(issuer.clone());
        }
        let cell = |cell: Cell| Cell { issuer: issuer.clone(), ..cell };
        round.matrix.cells = round.matrix.cells.drain(..3).map(cell).collect();
    });
    sample::judged(round, Vec::new())
}

#[test]
fn a_separate_token_server_is_the_issuer_and_no_backend_owns_its_key() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    bench.finish(&[of_server("auth.example.com")]);
    let page = bench.text();
    let pair = "{registry=\"main\",issuer=\"auth.example.com\",verifier=\"b\"}";
    assert_eq!(value(&page, &format!("token_cross_valid{pair}")), Some(1.0));
    assert_eq!(
        value(&page, "token_cross_checks_total{registry=\"main\",verifier=\"b\"}"),
        Some(1.0)
    );
    assert!(!page.contains("issuer=\"a\""), "pairs that cannot occur are not there");
    assert!(!page.contains("token_key_info"));
    assert_eq!(value(&page, "token_keys{registry=\"main\"}"), Some(1.0));
}

#[test]
fn a_registry_that_invents_token_servers_does_not_grow_the_page_for_ever() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    for n in 0..100 {
        bench.finish(&[of_server(&format!("auth-{n}.example.com"))]);
    }
    let page = bench.text();
    let pairs = page.matches("issuer=\"").count();
    assert_eq!(pairs, 3, "those of the newest round");
}

#[test]
fn a_failure_of_a_new_kind_begins_at_zero_so_that_prometheus_sees_it_grow() {
    let bench = Bench::new(sample::fresh_snapshot(&["a", "b"]));
    let series =
        "flow_failures_total{registry=\"main\",route=\"b\",step=\"token\",reason=\"timeout\"}";
    let failing = || {
        let fail = |round: &mut Round| sample::fail(round, "b", Step::Token, Reason::Timeout);
        sample::judged(sample::changed(&["a", "b"], fail), Vec::new())
    };
    let healthy = || sample::judged(sample::round(&["a", "b"]), Vec::new());
    for (round, expected) in [
        (healthy(), None),
        (failing(), Some(0.0)),
        (healthy(), Some(1.0)),
        (failing(), Some(2.0)),
        (failing(), Some(3.0)),
    ] {
        bench.finish(&[round]);
        assert_eq!(value(&bench.text(), series), expected);
    }
    let (_, page) = super::page_of(&[failing()], None);
    let page = String::from_utf8(page).unwrap();
    assert_eq!(value(&page, series), Some(1.0), "a page that is made once");
}

/// Series of a registry's own in a healthy round with everything that Harbor has.
fn series(backends: usize) -> usize {
    let names: Vec<String> = (0..backends).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(sample::fresh_snapshot(&names));
    let mut round = sample::round(&names);
    round.scope = Some("repository:probe/canary:pull".into());
    bench.finish(&[sample::judged(round, Vec::new())]);
    bench.text().lines().filter(|line| line.contains("registry=\"main\"")).count()
}

#[test]
fn a_backend_costs_as_many_series_as_the_budget_allows() {
    let three = series(3);
    assert!(three <= 180, "{three} series for three backends");
    for backends in [13, 26, 100] {
        let more = series(backends) - three;
        assert!(more <= 30 * (backends - 3), "{more} more series for {backends} backends");
    }
}

#[test]
fn many_backends_have_series_for_refused_pairs_only() {
    let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(sample::fresh_snapshot(&names));
    let refused = sample::changed(&names, |round| sample::refuse(round, "n1", "n2"));
    bench.finish(&[sample::judged(refused, Vec::new())]);
    let page = bench.text();
    let pairs: Vec<&str> =
        page.lines().filter(|line| line.contains("token_cross_valid{")).collect();
    let expected =
        "registry_prober_token_cross_valid{registry=\"main\",issuer=\"n1\",verifier=\"n2\"} 0";
    assert_eq!(pairs, [expected]);
    assert_eq!(
        value(&page, "token_cross_checks_total{registry=\"main\",verifier=\"n39\"}"),
        Some(41.0)
    );
}

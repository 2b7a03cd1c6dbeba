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
    for route in ["a", "b", "lb"] {
        zero.push(format!("flows_total{{registry=\"main\",route=\"{route}\"}}"));
        zero.push(format!("flow_duration_seconds_count{{registry=\"main\",route=\"{route}\"}}"));
        for (step, reason) in
            [("challenge", "timeout"), ("access", "unauthorized"), ("repository", "not_found")]
        {
            zero.push(format!(
                "flow_failures_total{{registry=\"main\",route=\"{route}\",step=\"{step}\",\
                 reason=\"{reason}\"}}"
            ));
        }
        for step in ["challenge", "token", "access", "repository"] {
            for code in [200, 401] {
                let labels = format!(
                    "{{registry=\"main\",route=\"{route}\",step=\"{step}\",code=\"{code}\"}}"
                );
                zero.push(format!("responses_total{labels}"));
                if matches!(step, "access" | "repository") {
                    zero.push(format!("authenticated_responses_total{labels}"));
                }
            }
        }
        for phase in ["dns", "connect", "tls", "wait", "transfer"] {
            zero.push(format!(
                "phase_seconds_total{{registry=\"main\",route=\"{route}\",phase=\"{phase}\"}}"
            ));
        }
        for verifier in ["a", "b", "lb"] {
            for metric in ["checks", "refusals"] {
                zero.push(format!(
                    "token_cross_{metric}_total{{registry=\"main\",issuer=\"{route}\",\
                     verifier=\"{verifier}\"}}"
                ));
            }
        }
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
    assert!(bench.text().contains("route=\"c\",step=\"repository\""));
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
    assert_eq!(value(&page, &format!("token_cross_checks_total{pair}")), Some(1.0));
    assert!(!page.contains("issuer=\"a\""), "pairs that cannot occur are gone");
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
    let checks = page.matches("token_cross_checks_total{").count();
    assert!(checks <= 3 * 9, "{checks} pairs");
}

#[test]
fn many_backends_have_no_series_for_pairs_that_were_never_tried() {
    let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let page = Bench::new(sample::fresh_snapshot(&names)).text();
    assert!(!page.contains("token_cross_checks_total"));
    assert!(page.contains("registry_prober_flows_total{registry=\"main\",route=\"n39\"} 0\n"));
}

//! Users of one kind of client count as users.

use super::{THREE, lines};
use crate::diagnosis::verdict::judge;
use crate::model::sample::{OTHER_KEY, changed, fail, refuse, sign_with};
use crate::model::{
    Assessment, BalancerRun, ClientKind, ClientRun, Earlier, FindingName, KeyCount, KeyId, Outcome,
    Ratio, Reason, Round, Route, Step, StepReport,
};

/// The second of three nodes has another key, and no pair of the sampling met it.
fn odd(felt: impl FnOnce(&mut BalancerRun)) -> Round {
    changed(THREE, |round| {
        sign_with(round, "b", OTHER_KEY);
        for (issuer, verifier) in [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")] {
            refuse(round, issuer, verifier);
        }
        if let Outcome::Measured(run) = &mut round.balancer {
            run.keys.push(KeyCount { key: KeyId::from_wire(OTHER_KEY), tokens: 20 });
            felt(run);
        }
    })
}

/// Five logins of each kind, of which two of this one failed.
fn two_fail(run: &mut BalancerRun, kind: ClientKind) {
    run.client_flows = Ratio { events: 2, trials: 10 };
    run.clients = ClientKind::ALL
        .map(|client| {
            let events = if client == kind { 2 } else { 0 };
            ClientRun { logins: Ratio { events, trials: 5 }, ..ClientRun::of(client) }
        })
        .into();
}

fn judged(round: &Round) -> Assessment {
    judge(round, &Earlier::default())
}

#[test]
fn a_finding_is_critical_as_soon_as_users_of_one_kind_meet_it() {
    let unfelt = judged(&odd(|_| {}));
    assert_eq!(lines(&unfelt), ["token-key-mismatch warning proved [b]"]);
    for kind in [ClientKind::Docker, ClientKind::Podman] {
        let felt = judged(&odd(|run| two_fail(run, kind)));
        assert_eq!(lines(&felt), ["token-key-mismatch critical proved [b]"], "{kind:?}");
    }
}

#[test]
fn where_no_login_fails_the_sentence_does_not_begin_as_if_all_were_well() {
    let pulls = judged(&odd(|run| {
        two_fail(run, ClientKind::Docker);
        for client in &mut run.clients {
            client.logins.events = 0;
        }
        // Too few tokens to tell which node answers how often, and so what pulls would meet.
        run.keys.clear();
    }));
    let [finding] = &pulls.findings[..] else { panic!("{:#?}", pulls.findings) };
    let lead = "None of 10 logins failed in this check. Through the load balancer 2 of 10 ";
    assert!(finding.effect.starts_with(lead), "{}", finding.effect);
}

#[test]
fn the_sentence_about_users_begins_with_each_kind_of_client() {
    let felt = judged(&odd(|run| two_fail(run, ClientKind::Docker)));
    let [finding] = &felt.findings[..] else { panic!("{:#?}", felt.findings) };
    let docker =
        "docker: 40 % of logins fail, 92 % of pulls of ten layers; podman: none of 5 logins failed";
    assert!(finding.effect.starts_with(docker), "{}", finding.effect);
    for part in [
        "; Kubernetes nodes (containerd): none of 5 logins failed",
        ". Through the load balancer 2 of 10 (20 %, ",
    ] {
        assert!(finding.effect.contains(part), "{part}: {}", finding.effect);
    }
}

#[test]
fn what_still_works_is_said_only_where_the_prober_s_own_flow_shows_it() {
    use crate::diagnosis::effect::some_fail;
    use crate::diagnosis::facts::Facts;
    use crate::diagnosis::hypothesis::{Hits, Hypothesis};

    let said = |what, change: fn(&mut Round)| {
        let (round, earlier) = (changed(&["a", "b"], change), Earlier::default());
        let h = Hypothesis::new(FindingName::RealmWrongEndpoint, Vec::new(), String::new());
        some_fail(&Facts::new(&round, &earlier), &h.hits(Hits::Requests), what)
    };
    let sound = |_: &mut Round| {};
    let by_docker = "Logins and pulls by docker, podman and skopeo";
    let of_people = "Logins of LDAP and OIDC users";
    let own = "Logins of LDAP and OIDC users fail; the prober's own account can log in";
    assert_eq!(said(by_docker, sound), "Logins and pulls by docker, podman and skopeo fail");
    assert_eq!(said(of_people, sound), own);
    assert_eq!(said("Pulls", sound), "Pulls fail; logins work");
    assert_eq!(said("Pushes", sound), "Pushes fail; logins work", "nothing was pulled");
    let pulls = |round: &mut Round| {
        let flow = round.flows.iter_mut().find(|flow| flow.route == Route::Balancer).unwrap();
        let repository = StepReport { step: Step::Repository, ..flow.steps[0].clone() };
        flow.steps.push(repository);
    };
    assert_eq!(said("Pushes", pulls), "Pushes fail; logins and pulls work");
    let at_token = |round: &mut Round| fail(round, "lb", Step::Token, Reason::Unauthorized);
    for what in [of_people, "Pushes", "Pulls"] {
        assert_eq!(said(what, at_token), format!("{what} fail"));
    }
}

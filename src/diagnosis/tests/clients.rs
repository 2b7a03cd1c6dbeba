//! Users of one kind of client count as users.

use super::{THREE, lines};
use crate::diagnosis::verdict::judge;
use crate::model::sample::{OTHER_KEY, changed, refuse, sign_with};
use crate::model::{
    Assessment, BalancerRun, ClientKind, ClientRun, Earlier, KeyCount, KeyId, Outcome, Ratio, Round,
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

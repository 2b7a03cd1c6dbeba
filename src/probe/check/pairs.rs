//! Which pairs of backends are tried, for checks that carry something from one to another.

use futures_util::future::join_all;

use super::super::{flow, matrix};
use crate::model::{BackendName, EVERY_PAIR_UP_TO, Family, Flow, OfPair, Outcome, Skipped, Step};
use crate::transport::BoxFuture;

/// The backends that are Harbor 2 and answer, or why there is none.
pub(super) fn harbors(flows: &[Flow]) -> Result<Vec<BackendName>, Skipped> {
    let backends = || flows.iter().filter(|flow| flow.route.backend().is_some());
    let answers = |flow: &&Flow| flow.passed(Step::Challenge) == Some(true);
    let harbors: Vec<BackendName> = backends()
        .filter(answers)
        .filter(|flow| matrix::family(flow) == Family::Harbor2)
        .filter_map(|flow| flow.route.backend().cloned())
        .collect();
    match (harbors.is_empty(), backends().any(|flow| answers(&flow))) {
        (false, _) => Ok(harbors),
        (true, true) => Err(Skipped::NotApplicable),
        (true, false) => Err(Skipped::EarlierStepFailed),
    }
}

/// Shows what each backend gave to the others and to itself.
pub(super) async fn carried<'a, I: Sync, T: Send + 'a>(
    names: &[BackendName],
    issued: &'a [Outcome<I>],
    show: impl Fn(&'a I, BackendName, bool) -> BoxFuture<'a, Outcome<T>> + Sync,
    accepted: impl Fn(&T) -> bool,
) -> Vec<OfPair<T>> {
    let mut found: Vec<OfPair<T>> = Vec::new();
    let mut tried = Vec::new();
    let gave: Vec<bool> = issued.iter().map(|issued| issued.measured().is_some()).collect();
    loop {
        let wanted = next(&gave, &tried);
        if wanted.is_empty() {
            return found;
        }
        let looks = wanted.iter().filter_map(|(i, at)| {
            let (issuer, verifier) = (names.get(*i)?.clone(), names.get(*at)?.clone());
            let (issued, show, own) = (issued.get(*i)?, &show, i == at);
            Some(flow::boxed(async move {
                let value = match issued {
                    Outcome::Measured(issued) => show(issued, verifier.clone(), own).await,
                    // No other was asked: it is the issuer's failure, once.
                    Outcome::Failed(failure) if own => Outcome::Failed(failure.clone()),
                    Outcome::Failed(_) => Outcome::Skipped(Skipped::EarlierStepFailed),
                    Outcome::Skipped(reason) => Outcome::Skipped(*reason),
                };
                OfPair { issuer, verifier, value }
            }))
        });
        let response = join_all(looks).await;
        let learned = |pair: &OfPair<T>| pair.value.measured().map(&accepted);
        tried.extend(wanted.iter().zip(&response).map(|((i, at), pair)| (*i, *at, learned(pair))));
        found.extend(response);
    }
}

/// One pair that was tried: issuer and verifier by number, and whether the verifier accepted;
/// nothing where nothing was learned.
type Tried = (usize, usize, Option<bool>);

/// The pairs to try next; none when all is known that is asked for. `gave` tells of each backend
/// whether it gave something that can be shown.
///
/// Up to twelve backends every pair is tried. With more, what is accepted is taken to be shared:
/// each is shown its own and that of a leader, the first that gave something; those that refuse
/// it are shown that of the first among them, and so on, which costs one request a backend for each
/// distinct secret.
fn next(gave: &[bool], tried: &[Tried]) -> Vec<(usize, usize)> {
    let all = 0..gave.len();
    if gave.len() <= EVERY_PAIR_UP_TO {
        let pairs = all.clone().flat_map(|issuer| all.clone().map(move |at| (issuer, at)));
        return if tried.is_empty() { pairs.collect() } else { Vec::new() };
    }
    let gives = |at: &usize| gave.get(*at) == Some(&true);
    let others = |leader: usize, of: Vec<usize>| {
        of.into_iter().filter(move |at| *at != leader).map(move |at| (leader, at))
    };
    if tried.is_empty() {
        let leader = all.clone().find(gives);
        let led = leader.into_iter().flat_map(|leader| others(leader, all.clone().collect()));
        return all.clone().map(|at| (at, at)).chain(led).collect();
    }
    let led = |issuer: usize| tried.iter().any(|(i, at, _)| *i == issuer && at != i);
    let refuses = |at: usize| {
        let others =
            || tried.iter().filter(|(issuer, verifier, _)| *verifier == at && *issuer != at);
        others().count() > 0 && others().all(|(.., accepted)| *accepted == Some(false))
    };
    let open: Vec<usize> = all.filter(|at| !led(*at) && refuses(*at)).collect();
    match open.iter().copied().find(gives) {
        Some(leader) => others(leader, open).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until nothing is left, with backends that have these secrets; some give nothing, and
    /// what those that are silent are shown is lost.
    fn tried_with(secrets: &[u32], mute: &[usize], silent: &[usize]) -> Vec<Tried> {
        let gave: Vec<bool> = (0..secrets.len()).map(|at| !mute.contains(&at)).collect();
        let mut tried = Vec::new();
        loop {
            let wanted = next(&gave, &tried);
            if wanted.is_empty() {
                return tried;
            }
            let pair = |(issuer, at): &(usize, usize)| {
                let lost = mute.contains(issuer) || silent.contains(at);
                (*issuer, *at, (!lost).then(|| secrets[*issuer] == secrets[*at]))
            };
            tried.extend(wanted.iter().map(pair));
        }
    }

    fn tried(secrets: &[u32]) -> Vec<Tried> {
        tried_with(secrets, &[], &[])
    }

    fn led_by(leader: usize, tried: &[Tried]) -> usize {
        tried.iter().filter(|(issuer, at, _)| *issuer == leader && *at != leader).count()
    }

    #[test]
    fn few_backends_are_tried_in_every_pair_once() {
        for count in [1, 2, 12] {
            let tried = tried(&vec![0; count]);
            assert_eq!(tried.len(), count * count);
        }
    }

    #[test]
    fn many_backends_cost_one_request_each_for_every_distinct_secret() {
        assert_eq!(tried(&[0; 40]).len(), 40 + 39);
        let mut secrets = [0; 40];
        (secrets[7], secrets[8], secrets[9]) = (1, 1, 2);
        let tried = tried(&secrets);
        assert_eq!(tried.len(), 40 + 39 + 2, "seven leads eight and nine");
        assert!(tried.contains(&(7, 8, Some(true))));
        assert!(tried.contains(&(7, 9, Some(false))));
    }

    #[test]
    fn who_gave_nothing_does_not_lead() {
        let mut secrets = [0; 20];
        (secrets[7], secrets[8], secrets[9]) = (1, 1, 1);
        // Of the first leader, of the leader after it, and of both.
        for (mute, leaders) in
            [(vec![0], [1, 7]), (vec![7], [0, 8]), (vec![0, 1, 7, 8], [2, 9]), (vec![5], [0, 7])]
        {
            let tried = tried_with(&secrets, &mute, &[]);
            assert_eq!(led_by(leaders[0], &tried), 19, "{mute:?}");
            assert_eq!(led_by(leaders[1], &tried), 2, "{mute:?}");
            for at in mute.iter().copied() {
                assert_eq!(led_by(at, &tried), 0, "{mute:?}: {at} has nothing to show");
                assert!(tried.contains(&(at, at, None)), "{mute:?}: and that is said");
                let verdict = Some(secrets[leaders[0]] == secrets[at]);
                assert!(tried.contains(&(leaders[0], at, verdict)), "{mute:?}: it is asked");
            }
        }
    }

    #[test]
    fn where_nobody_gave_anything_each_is_said_and_nothing_is_asked() {
        let everybody: Vec<usize> = (0..20).collect();
        let tried = tried_with(&[0; 20], &everybody, &[]);
        assert_eq!(tried.len(), 20);
        assert!(tried.iter().all(|(issuer, at, learned)| issuer == at && learned.is_none()));
    }

    #[test]
    fn what_was_lost_is_not_asked_again() {
        let everybody: Vec<usize> = (0..20).collect();
        assert_eq!(tried_with(&[0; 20], &[], &everybody).len(), 20 + 19);
    }
}

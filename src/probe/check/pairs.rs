//! Which pairs of backends are tried, for checks that carry something from one to another.

use futures_util::future::join_all;

use super::super::{flow, matrix};
use crate::model::{BackendName, Family, Flow, OfPair, Outcome, Skipped, Step};
use crate::transport::BoxFuture;

/// Above so many backends not every pair is tried.
const FULL: usize = 12;

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
    loop {
        let wanted = next(names.len(), &tried);
        if wanted.is_empty() {
            return found;
        }
        let asked = wanted.iter().filter_map(|(i, at)| {
            let (issuer, verifier) = (names.get(*i)?.clone(), names.get(*at)?.clone());
            let (issued, show, own) = (issued.get(*i)?, &show, i == at);
            Some(flow::boxed(async move {
                let value = match issued {
                    Outcome::Measured(issued) => show(issued, verifier.clone(), own).await,
                    Outcome::Failed(failure) => Outcome::Failed(failure.clone()),
                    Outcome::Skipped(reason) => Outcome::Skipped(*reason),
                };
                OfPair { issuer, verifier, value }
            }))
        });
        let asked = join_all(asked).await;
        let learned = |pair: &OfPair<T>| pair.value.measured().map(&accepted);
        tried.extend(wanted.iter().zip(&asked).map(|((i, at), pair)| (*i, *at, learned(pair))));
        found.extend(asked);
    }
}

/// One pair that was tried: issuer and verifier by number, and whether the verifier accepted;
/// nothing where nothing was learned.
type Tried = (usize, usize, Option<bool>);

/// The pairs to try next; none when all is known that is asked for.
///
/// Up to twelve backends every pair is tried. With more, what is accepted is taken to be shared:
/// everybody is shown its own and the first one's; those that refuse it are shown that of the
/// first among them, and so on, which costs one request a backend for each distinct secret.
fn next(count: usize, tried: &[Tried]) -> Vec<(usize, usize)> {
    if count <= FULL {
        let all = || (0..count).flat_map(|issuer| (0..count).map(move |at| (issuer, at)));
        return if tried.is_empty() { all().collect() } else { Vec::new() };
    }
    if tried.is_empty() {
        let own = (1..count).map(|at| (at, at));
        return (0..count).map(|at| (0, at)).chain(own).collect();
    }
    let led = |issuer: usize| tried.iter().any(|(i, at, _)| *i == issuer && at != i);
    let refuses = |at: usize| {
        let others =
            || tried.iter().filter(|(issuer, verifier, _)| *verifier == at && *issuer != at);
        others().count() > 0 && others().all(|(.., accepted)| *accepted == Some(false))
    };
    let open: Vec<usize> = (0..count).filter(|at| !led(*at) && refuses(*at)).collect();
    match open.split_first() {
        Some((leader, others)) => others.iter().map(|at| (*leader, *at)).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until nothing is left, with backends that have these secrets.
    fn tried(secrets: &[u32]) -> Vec<Tried> {
        let mut tried = Vec::new();
        loop {
            let wanted = next(secrets.len(), &tried);
            if wanted.is_empty() {
                return tried;
            }
            let pair = |(issuer, at): &(usize, usize)| {
                (*issuer, *at, Some(secrets[*issuer] == secrets[*at]))
            };
            tried.extend(wanted.iter().map(pair));
        }
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
    fn what_was_lost_is_not_asked_again() {
        let lost: Vec<Tried> = next(20, &[]).into_iter().map(|(i, at)| (i, at, None)).collect();
        assert_eq!(next(20, &lost), Vec::new());
    }
}

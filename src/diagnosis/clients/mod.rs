//! What each kind of client feels: the share of logins that fail, as measured, and of pulls and
//! pushes of ten layers, as matrix and shares predict it.

mod formula;
#[cfg(test)]
mod tests;

use self::formula::{Divides, Image, World};
use super::statistics::wilson;
use crate::model::{
    BalancerRun, ClientKind, ClientRun, ClientView, Estimate, Ratio, Round, SampleFailure,
    SampledFlow, Share, Step,
};

/// What each kind of client feels; empty where no flows ran.
pub(super) fn views(round: &Round, shares: &[Share]) -> Vec<ClientView> {
    let Some(run) = round.balancer.measured() else { return Vec::new() };
    let world = World::of(round, shares);
    let divides = world.as_ref().map_or(Divides::Unknown, |world| world.divides(run));
    let views = run.clients.iter().filter_map(|client| {
        let login = login(client, run)?;
        let kind = client.client;
        let image = |image: Image| {
            let share = world.as_ref()?.image(kind, divides, image);
            let all = at_least(share, login, lost(client, image));
            Some(at_least(all, NOTHING, of_the_repository(client, share)))
        };
        let (pull, push) = (image(Image::pull(kind)), image(Image::push(kind)));
        Some(ClientView { run: *client, login, pull, push })
    });
    views.collect()
}

/// The share of logins that fail. Pairs connect as docker does, and fail as it fails but for the
/// challenge. Those with nothing between token and use ask as docker asks; the others count as well,
/// unless they show another share, as they do behind strict round robin that no one else uses.
fn login(client: &ClientRun, run: &BalancerRun) -> Option<Estimate> {
    let at_challenge = |failed: &SampleFailure| {
        failed.flow == SampledFlow::Client && failed.step == Step::Challenge
    };
    let by_pairs = client.client == ClientKind::Docker
        && run.lost_on_the_way() == 0
        && !run.failures.iter().any(at_challenge);
    if !by_pairs {
        return estimate(client.logins);
    }
    let own = client.logins.and(run.adjacent_pairs);
    let others = run.distant_pairs;
    estimate(if differ(own, others) { own } else { own.and(others) })
}

/// Whether two ratios differ by more than the standard error. Where in doubt they do: fewer samples
/// leave a wider interval, and those of another kind a wrong one.
fn differ(one: Ratio, other: Ratio) -> bool {
    let Some((a, b)) = one.value().zip(other.value()) else { return false };
    let all = one.and(other).value().unwrap_or_default();
    let variance =
        all * (1.0 - all) * (1.0 / f64::from(one.trials) + 1.0 / f64::from(other.trials));
    (a - b).abs() > variance.sqrt()
}

fn estimate(ratio: Ratio) -> Option<Estimate> {
    let (lower, upper) = wilson(ratio)?;
    Some(Estimate { value: ratio.value()?, lower, upper })
}

/// The share of images that are lost otherwise than by a refused token, as logins are. An image
/// needs a token once, as a login does. Of its other requests docker sends each over a connection of
/// its own: a login has two, and an image one more than it has requests with a token.
fn lost(client: &ClientRun, image: Image) -> Estimate {
    let logins = client.logins.trials;
    let part = |events, trials| {
        if events == 0 { NOTHING } else { estimate(Ratio { events, trials }).unwrap_or(NOTHING) }
    };
    if client.client != ClientKind::Docker {
        return part(client.lost, logins);
    }
    let token = part(client.without_token, logins);
    let others = client.lost.saturating_sub(client.without_token);
    let others = part(others, logins.saturating_sub(client.without_token));
    let of_image = |token: f64, others: f64| {
        let request = 1.0 - (1.0 - others).sqrt();
        let passed =
            (1.0 - request).powi(image.once + 1) * (1.0 - request.powi(2)).powi(image.twice);
        1.0 - (1.0 - token) * passed
    };
    Estimate {
        value: of_image(token.value, others.value),
        lower: of_image(token.lower, others.lower),
        upper: of_image(token.upper, others.upper),
    }
}

/// The share of pulls that fail for what only a repository shows: those of the canary that failed
/// otherwise than by a refused token, or all that failed where the tokens cannot explain it. The
/// canary is two requests; more of them fail no less often, and may all fail.
fn of_the_repository(client: &ClientRun, by_tokens: Estimate) -> Estimate {
    let Ratio { events, trials } = client.pulls;
    let unlike = estimate(client.pulls).is_some_and(|seen| seen.lower > by_tokens.upper);
    let events = if unlike { events } else { client.lost_pulls };
    match estimate(Ratio { events, trials }).filter(|_| events > 0) {
        Some(seen) => Estimate { upper: 1.0, ..seen },
        None => NOTHING,
    }
}

const NOTHING: Estimate = Estimate { value: 0.0, lower: 0.0, upper: 0.0 };

/// What fails by refused tokens, together with what is lost otherwise; never less than the logins.
fn at_least(by_tokens: Estimate, login: Estimate, lost: Estimate) -> Estimate {
    let all = |share: f64, login: f64, lost: f64| (1.0 - (1.0 - share) * (1.0 - lost)).max(login);
    Estimate {
        value: all(by_tokens.value, login.value, lost.value),
        lower: all(by_tokens.lower, login.lower, lost.lower),
        upper: all(by_tokens.upper, login.upper, lost.upper),
    }
}

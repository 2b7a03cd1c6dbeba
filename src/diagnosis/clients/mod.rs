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
            Some(at_least(share, login, lost(client, image)))
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

/// The share of images that are lost otherwise than by a refused token, as logins are: docker opens a
/// connection for each request, of which a login has three, and an image two more than it has
/// requests with a token.
fn lost(client: &ClientRun, image: Image) -> Estimate {
    let logins = Ratio { events: client.lost, trials: client.logins.trials };
    let Some(seen) = estimate(logins).filter(|_| client.lost > 0) else {
        return Estimate { value: 0.0, lower: 0.0, upper: 0.0 };
    };
    let of_image = |login: f64| {
        if client.client != ClientKind::Docker {
            return login;
        }
        let request = 1.0 - (1.0 - login).cbrt();
        1.0 - (1.0 - request).powi(image.once + 2) * (1.0 - request.powi(2)).powi(image.twice)
    };
    Estimate {
        value: of_image(seen.value),
        lower: of_image(seen.lower),
        upper: of_image(seen.upper),
    }
}

/// What fails by refused tokens, together with what is lost before; never less than the logins.
fn at_least(by_tokens: Estimate, login: Estimate, lost: Estimate) -> Estimate {
    let all = |share: f64, login: f64, lost: f64| (1.0 - (1.0 - share) * (1.0 - lost)).max(login);
    Estimate {
        value: all(by_tokens.value, login.value, lost.value),
        lower: all(by_tokens.lower, login.lower, lost.lower),
        upper: all(by_tokens.upper, login.upper, lost.upper),
    }
}

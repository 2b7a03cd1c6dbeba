//! The formulas of clients, held to simulations of them.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::formula::{Divides, Image, Refusal, World};
use crate::model::{BalancerRun, ClientKind, ClientRun, Ratio};

/// Three nodes with shares of their own, the second with another key.
fn world(refusal: Refusal) -> World {
    let refused = |a: usize, b: usize| if (a == 1) == (b == 1) { 0.0 } else { 1.0 };
    World {
        shares: vec![0.5, 0.2, 0.3],
        counted: 100.0,
        refused: (0..3).map(|a| (0..3).map(|b| refused(a, b)).collect()).collect(),
        refusal,
    }
}

/// A client that does one thing after the other against backends drawn by chance.
struct Client<'w> {
    world: &'w World,
    random: SmallRng,
    kind: ClientKind,
    /// Where its only connection leads, if it keeps one.
    at: Option<usize>,
    token: usize,
}

impl Client<'_> {
    fn backend(&mut self) -> usize {
        if let Some(at) = self.at {
            return at;
        }
        let mut left: f64 = self.random.random();
        for (backend, share) in self.world.shares.iter().enumerate() {
            left -= share;
            if left < 0.0 {
                return backend;
            }
        }
        0
    }

    fn refused(&mut self) -> bool {
        let at = self.backend();
        self.random.random::<f64>() < self.world.refused[self.token][at]
    }

    /// Whether one request gets through; the first is the one for which the token was fetched.
    fn request(&mut self, first: bool, tries: u32) -> bool {
        if (0..tries).any(|_| !self.refused()) {
            return true;
        }
        if self.kind != ClientKind::Containerd {
            return false;
        }
        match (self.world.refusal, first) {
            (Refusal::Basic, _) => true,
            (Refusal::Error, true) => false,
            (Refusal::Error, false) => {
                self.token = self.backend();
                !self.refused()
            }
            (Refusal::Plain, first) => {
                // Of five answers at the most, two came before if it had no token at first.
                let answers = if first { 2 } else { 1 };
                (answers..5).any(|_| !self.refused())
            }
        }
    }

    fn image(&mut self, image: Image, keeps: bool) -> bool {
        self.at = None;
        self.token = self.backend();
        self.at = keeps.then_some(self.token);
        let tries = [(image.once, 1), (image.twice, 2)];
        let mut first = true;
        tries.into_iter().all(|(requests, tries)| {
            (0..requests).all(|_| self.request(std::mem::take(&mut first), tries))
        })
    }
}

fn simulated(world: &World, kind: ClientKind, image: Image, keeps: bool) -> f64 {
    const IMAGES: u32 = 20_000;
    let random = SmallRng::seed_from_u64(7);
    let mut client = Client { world, random, kind, at: None, token: 0 };
    let failed = (0..IMAGES).filter(|_| !client.image(image, keeps)).count();
    f64::from(u32::try_from(failed).unwrap()) / f64::from(IMAGES)
}

#[test]
fn the_formula_is_what_a_simulation_of_clients_shows() {
    for refusal in [Refusal::Basic, Refusal::Error, Refusal::Plain] {
        for kind in ClientKind::ALL {
            let few = [1, 3].map(|once| Image { once, twice: 0 });
            for image in few.into_iter().chain([Image::pull(kind), Image::push(kind)]) {
                let world = world(refusal);
                let formula = world.by_request(kind, image);
                let shown = simulated(&world, kind, image, false);
                let text = format!("{kind:?} {refusal:?} {image:?}: {formula} {shown}");
                assert!((formula - shown).abs() < 0.015, "{text}");
            }
            let world = world(refusal);
            let formula = world.by_connection(kind, 1);
            assert!((formula - simulated(&world, kind, Image::pull(kind), true)).abs() < 1e-9);
        }
    }
}

#[test]
fn connections_that_meet_other_backends_let_kept_clients_fail_too() {
    let world = world(Refusal::Error);
    let one = world.by_connection(ClientKind::Podman, 1);
    let two = world.by_connection(ClientKind::Podman, 2);
    // Two independent draws, as a token and its use: 0.8² + 0.2² pass.
    assert!(one.abs() < 1e-9 && (two - 0.32).abs() < 1e-9, "{one} {two}");
    let asks_again = world.by_connection(ClientKind::Containerd, 2);
    assert!(asks_again < two, "{asks_again}");
}

#[test]
fn the_interval_holds_the_truth_in_most_draws_of_the_shares() {
    const DRAWS: u32 = 400;
    let truth = world(Refusal::Error);
    let mut random = SmallRng::seed_from_u64(3);
    for kind in ClientKind::ALL {
        let image = Image { once: 3, twice: 0 };
        let expected = truth.by_request(kind, image);
        let mut held = 0;
        for _ in 0..DRAWS {
            let mut counts = [0u32; 3];
            for _ in 0..60 {
                let draw: f64 = random.random();
                let at = if draw < 0.5 {
                    0
                } else if draw < 0.7 {
                    1
                } else {
                    2
                };
                counts[at] += 1;
            }
            let shares = counts.map(|count| f64::from(count) / 60.0).to_vec();
            let seen = World { shares, counted: 60.0, ..truth.clone() };
            let estimate = seen.with_interval(|world| world.by_request(kind, image));
            held += u32::from((estimate.lower..=estimate.upper).contains(&expected));
        }
        assert!(held * 10 >= DRAWS * 9, "{kind:?}: {held} of {DRAWS}");
    }
}

#[test]
fn how_a_balancer_divides_is_told_by_flows_that_keep_their_connection() {
    let world = world(Refusal::Error);
    let run = |failed: u32, pulls: u32| BalancerRun {
        clients: vec![ClientRun {
            logins: Ratio { events: failed, trials: 5 },
            pulls: Ratio { events: 0, trials: pulls },
            ..ClientRun::of(ClientKind::Podman)
        }],
        ..BalancerRun::default()
    };
    assert_eq!(world.divides(&run(2, 0)), Divides::Requests);
    assert_eq!(world.divides(&run(0, 3)), Divides::Connections);
    assert_eq!(world.divides(&BalancerRun::default()), Divides::Unknown);
    let healthy = World { refused: vec![vec![0.0; 3]; 3], ..world };
    assert_eq!(healthy.divides(&run(0, 3)), Divides::Unknown, "there is nothing to tell it by");
    for kind in ClientKind::ALL {
        let estimate = healthy.image(kind, Divides::Unknown, Image::pull(kind));
        assert!(estimate.value.abs() < 1e-9 && estimate.upper < 1e-9, "{kind:?} {estimate:?}");
    }
}

#[test]
fn the_example_of_the_readme_is_right() {
    let apart = |a: usize, b: usize| if (a == 1) == (b == 1) { 0.0 } else { 1.0 };
    let world = World {
        shares: vec![1.0 / 3.0; 3],
        counted: 100.0,
        refused: (0..3).map(|a| (0..3).map(|b| apart(a, b)).collect()).collect(),
        refusal: Refusal::Error,
    };
    let share = |image| format!("{:.0}", world.by_request(ClientKind::Docker, image) * 100.0);
    let (pull, push) = (Image::pull(ClientKind::Docker), Image::push(ClientKind::Docker));
    assert_eq!([share(Image { once: 1, twice: 0 }), share(pull), share(push)], ["44", "92", "100"]);
}

#[test]
fn pairs_count_as_docker_logins_unless_those_that_ask_as_docker_does_show_another_share() {
    let ratio = |events, trials| Ratio { events, trials };
    let docker = ClientRun { logins: ratio(5, 5), ..ClientRun::of(ClientKind::Docker) };
    let run = |adjacent, distant| BalancerRun {
        adjacent_pairs: adjacent,
        distant_pairs: distant,
        ..BalancerRun::default()
    };
    // Strict round robin over two nodes, with nothing of others between.
    let strict = super::login(&docker, &run(ratio(10, 10), ratio(0, 10)));
    assert_eq!(strict, super::estimate(ratio(15, 15)));
    let mixed = super::login(&docker, &run(ratio(5, 10), ratio(5, 10)));
    assert_eq!(mixed, super::estimate(ratio(15, 25)));
    // Others keep their connection.
    let podman = ClientRun { client: ClientKind::Podman, ..docker };
    let own = super::login(&podman, &run(ratio(0, 10), ratio(0, 10)));
    assert_eq!(own, super::estimate(ratio(5, 5)));
}

#[test]
fn what_is_lost_before_a_token_is_known_no_better_than_it_was_measured() {
    let (events, trials) = (2, 5);
    let client = ClientRun {
        logins: Ratio { events, trials },
        lost: events,
        ..ClientRun::of(ClientKind::Containerd)
    };
    let nothing = super::estimate(Ratio { events: 0, trials: 1_000_000 }).unwrap();
    let login = super::estimate(client.logins).unwrap();
    let image = super::at_least(nothing, login, super::lost(&client, Image::pull(client.client)));
    assert!((image.lower - login.lower).abs() < 1e-5, "{image:?} {login:?}");
    assert!((image.value - 0.4).abs() < 1e-5, "{image:?}");
}

#[test]
fn a_token_that_is_not_issued_fails_an_image_once_and_a_lost_connection_each_time() {
    let of = |without_token| {
        let client = ClientRun {
            logins: Ratio { events: 20, trials: 100 },
            lost: 20,
            without_token,
            ..ClientRun::of(ClientKind::Docker)
        };
        super::lost(&client, Image::push(ClientKind::Docker)).value
    };
    assert!((of(20) - 0.2).abs() < 1e-9, "{}", of(20));
    // A tenth of the connections, of which a push has 36.
    assert!(of(0) > 0.95, "{}", of(0));
}

#[test]
fn a_pull_fails_at_least_as_often_as_the_canary_s_pulls_which_no_token_explains() {
    let client = |events, trials, lost_pulls| ClientRun {
        logins: Ratio { events: 0, trials: 5 },
        pulls: Ratio { events, trials },
        lost_pulls,
        ..ClientRun::of(ClientKind::Podman)
    };
    let nothing = super::NOTHING;
    let share = |client: &ClientRun, by_tokens| super::of_the_repository(client, by_tokens).value;
    // Not found, once of three times.
    assert!((share(&client(1, 3, 1), nothing) - 1.0 / 3.0).abs() < 1e-9);
    // Refused, although every node accepts every token.
    assert!((share(&client(3, 3, 0), nothing) - 1.0).abs() < 1e-9);
    // Refused as often as the matrix says.
    let half = super::Estimate { value: 0.5, lower: 0.3, upper: 0.7 };
    assert!(share(&client(2, 3, 0), half).abs() < 1e-9);
}

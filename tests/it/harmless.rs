//! With everything on, the prober leaves nothing behind: uploads, blobs, manifests and tags are
//! counted before and after many rounds, no session is opened where one is known, and no backend
//! is asked more than was agreed.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use registry_prober::config::{Registry, Scope};
use registry_prober::lab::{Entry, Family, Options, Scenario};
use registry_prober::model::{Check, CheckRun, Outcome};

use crate::support::simulated::{Arrived, Conditions, Simulation, paused};

/// Rounds that are played of what is well, and of each fault.
const ROUNDS: usize = 100;
const FAULTY_ROUNDS: usize = 10;

/// From one round to the next.
const BETWEEN: Duration = Duration::from_secs(15);

/// Requests a second to one route, as configured.
const RATE: u32 = 50;

struct Played {
    before: [usize; 4],
    after: [usize; 4],
    requests: Vec<Arrived>,
    runs: Vec<CheckRun>,
}

/// The healthy play that several tests look at.
static HEALTHY: LazyLock<Played> =
    LazyLock::new(|| play("healthy-push", Family::Harbor215, ROUNDS));

/// Plays a scenario with every check in every round. The first round makes what is fixed.
fn play(scenario: &str, family: Family, rounds: usize) -> Played {
    play_with(scenario, family, rounds, |_| {})
}

/// The same, with settings of its own.
fn play_with(
    scenario: &str,
    family: Family,
    rounds: usize,
    adjust: impl FnOnce(&mut Registry),
) -> Played {
    let scenario = Scenario::named(scenario).expect("it is embedded");
    let options = Options { family: Some(family), nodes: Some(3), ..Options::default() };
    paused(async {
        let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |registry| {
            registry.checks.interval = Duration::from_secs(1);
            registry.max_requests_per_second = RATE;
            adjust(registry);
        });
        let empty = lab.counts();
        lab.round().await;
        let before = lab.counts();
        // Two blobs, and one manifest for each way to push; one tag. A storage that the round was the
        // first to ask begins with its images, one of which has nine layers more.
        let storages = before[3] - empty[3];
        let layers = 9 * (storages / 2);
        assert_eq!(before[0], 0, "uploads are ended");
        assert!(before[1] - empty[1] <= 2 * storages + layers, "{empty:?} {before:?}");
        assert!(before[2] - empty[2] <= 4 * storages, "{empty:?} {before:?}");
        lab.take_requests();
        let mut runs = Vec::new();
        for _ in 0..rounds {
            tokio::time::sleep(BETWEEN).await;
            runs = lab.round().await.0.checks.runs();
        }
        Played { before, after: lab.counts(), requests: lab.take_requests(), runs }
    })
}

/// The most requests that arrived at an entry within a time.
pub(crate) fn most_within(requests: &[Arrived], entry: Entry, within: Duration) -> usize {
    let times: Vec<Duration> =
        requests.iter().filter(|r| r.entry == entry).map(|request| request.at).collect();
    let from = |(index, at): (usize, &Duration)| {
        times[index..].iter().take_while(|other| **other < *at + within).count()
    };
    times.iter().enumerate().map(from).max().unwrap_or(0)
}

#[test]
fn a_hundred_rounds_with_everything_on_leave_nothing_behind() {
    let distribution = play("healthy-push", Family::Distribution2, ROUNDS);
    for (family, played) in [(Family::Harbor215, &*HEALTHY), (Family::Distribution2, &distribution)]
    {
        assert_eq!(played.before, played.after, "{family}: uploads, blobs, manifests, tags");
        let skipped = |run: &&CheckRun| !matches!(run.made, Outcome::Measured(()));
        let skipped: Vec<_> =
            played.runs.iter().filter(skipped).map(|r| r.check.as_str()).collect();
        let harbors = [
            "health",
            "latency",
            "csrf",
            "session",
            "directory_login",
            "worker_pools",
            "replications",
        ];
        let expected: &[&str] = if family.is_harbor() { &[] } else { &harbors };
        assert_eq!(skipped, expected, "{family}: everything else is on");
    }
}

#[test]
fn uploads_are_ended_whatever_is_wrong() {
    for scenario in [
        "http-secret-mismatch",
        "storage-not-shared-push",
        "storage-late",
        "read-only-at-one-node",
        "upload-location-wrong",
    ] {
        let Played { before, after, .. } = play(scenario, Family::Distribution2, FAULTY_ROUNDS);
        assert_eq!(after[0], 0, "{scenario}: uploads");
        assert_eq!((before[1], before[3]), (after[1], after[3]), "{scenario}: blobs and tags");
        // A push over the balancer fails now and then, and makes its manifest when it does not.
        assert!(after[2] - before[2] <= 2, "{scenario}: manifests {before:?} {after:?}");
    }
}

#[test]
fn a_session_is_sent_back_where_something_is_read_and_never_where_it_is_written() {
    for request in &HEALTHY.requests {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        assert_eq!(request.session, reads, "{request:?}");
        // A known session is not replaced, so that reading keeps none.
        assert!(!request.new_session || !reads, "{request:?}");
    }
}

/// What is pushed is what other checks and flows would read, if the canary had no other image;
/// distribution 2.8 answers 500 to them while it writes the link to a blob.
#[test]
fn what_a_push_is_writing_is_read_by_no_other_check_and_no_flow() {
    let rounds = |requests: &[Arrived]| {
        let rounds = requests.chunk_by(|one, next| next.at < one.at + BETWEEN / 2);
        rounds.map(<[Arrived]>::to_vec).collect::<Vec<_>>()
    };
    let apart = play("healthy-push", Family::Distribution2, 3);
    for round in rounds(&apart.requests) {
        let last = round.iter().rfind(|request| request.method == Method::PUT);
        let last = last.expect("every round pushes");
        let reads: Vec<_> = round
            .iter()
            .filter(|request| request.entry != Entry::Balancer)
            .filter(|request| request.path.contains("/canary/blobs/"))
            .collect();
        assert!(!reads.is_empty(), "every round reads");
        assert!(reads.iter().all(|read| read.at > last.at), "{last:?} {reads:?}");
    }

    let pushed_there =
        |registry: &mut Registry| registry.scope = Scope::parse("repository:probe/scratch:pull");
    let same = play_with("healthy-push", Family::Distribution2, 3, pushed_there);
    for round in rounds(&same.requests) {
        let by_tag = |request: &&Arrived| {
            request.entry == Entry::Balancer && request.path.ends_with("/manifests/registry-prober")
        };
        let pulls: Vec<_> =
            round.iter().filter(by_tag).filter(|request| request.method == Method::GET).collect();
        assert_eq!(pulls, Vec::<&Arrived>::new());
    }
}

#[test]
fn where_paths_lead_is_asked_twice_of_each_route_whatever_they_say() {
    let odd = ["realm-wrong-on-repository-path", "realm-wrong-endpoint"].map(|scenario| {
        let scenario = Scenario::named(scenario).expect("it is embedded");
        let options = Options { nodes: Some(3), ..Options::default() };
        paused(async {
            let mut lab = Simulation::new(&scenario, &options, Conditions::fair(), |_| {});
            lab.round().await.0.checks.runs()
        })
    });
    for runs in odd.iter().chain([&HEALTHY.runs]) {
        let run = runs.iter().find(|run| run.check == Check::PublicUrl).expect("a check");
        assert!(run.made.measured().is_some(), "{run:?}");
        assert_eq!(run.requests, 2 * 4, "three nodes and the load balancer");
    }
}

#[test]
fn no_route_is_asked_more_than_was_agreed() {
    let played = &*HEALTHY;
    for entry in [Entry::Node(0), Entry::Node(1), Entry::Node(2), Entry::Balancer] {
        // One second's worth may come at once, and then the rate holds. Requests that were sent
        // apart may arrive closer together.
        for seconds in [1, 5] {
            let most = most_within(&played.requests, entry, Duration::from_secs(seconds));
            let limit =
                usize::try_from(RATE).unwrap() * (usize::try_from(seconds).unwrap() + 1) + 3;
            assert!(most <= limit, "{entry:?}: {most} in {seconds} s");
        }
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for request in played.requests.iter().filter(|r| r.entry == Entry::Node(1)) {
        let kind = request.path.trim_start_matches('/').splitn(4, '/').take(3).collect::<Vec<_>>();
        *kinds.entry(format!("{} {}", request.method, kind.join("/"))).or_default() += 1;
    }
    println!(
        "requests to one of three backends in {ROUNDS} rounds with every check in every round:"
    );
    for (kind, count) in kinds {
        println!("  {count:>6}  {kind}");
    }
    for run in &played.runs {
        println!("  {} took {} requests in the last round", run.check, run.requests);
    }
}

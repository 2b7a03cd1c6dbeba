//! Incidents: from findings of single rounds to what an engineer asks for in the morning.
//!
//! A finding that lasts, at whichever backends, is one incident of its registry, and so is one that
//! returns within half an hour. What is only worth knowing (`info`) is none.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::model::{
    Finding, FindingName, Incident, Judged, KeptRounds, RETURNS_WITHIN_SECONDS, Severity, Step,
    UserShare, one_line, round_id,
};

/// The most incidents that are kept, over all registries; the oldest that are over go first.
const MOST: usize = 300;
/// The most backends that an incident names.
const MOST_BACKENDS: usize = 100;
/// The longest sentence that is kept with an incident.
const LONGEST_TEXT: usize = 600;
/// By how much the share of users who fail must grow for a round to be worse than the worst before.
const WORSE: f64 = 0.05;
/// A node that is gone for no longer than this was restarted.
const RESTART_SECONDS: i64 = 120;

/// The incidents of all registries, by the time of their opening.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Incidents {
    all: Vec<Incident>,
}

impl Incidents {
    /// Every incident, the latest to open last.
    pub fn all(&self) -> &[Incident] {
        &self.all
    }

    /// Takes in what a journal says of an incident; what it says later holds.
    pub fn restore(&mut self, incident: &Incident) {
        match self.all.iter_mut().find(|known| known.is_same(incident)) {
            Some(known) => known.clone_from(incident),
            None => self.all.push(incident.clone()),
        }
        self.make_room(MOST);
    }

    /// Takes a round in; the result is every incident that it changed, as it is now.
    pub fn take(&mut self, judged: &Judged) -> Vec<Incident> {
        let round = &judged.round;
        let (id, now, registry) = (round_id(round), round.started, round.registry.as_str());
        let mut found: BTreeMap<FindingName, Vec<&Finding>> = BTreeMap::new();
        for finding in &judged.assessment.findings {
            if finding.severity > Severity::Info {
                found.entry(finding.finding).or_default().push(finding);
            }
        }
        let users = UserShare::all(round);
        let mut changed = Vec::new();
        // Where no route answers as a registry, nothing shows that another cause is gone.
        let sees = round.flows.iter().any(|flow| flow.passed(Step::Challenge) == Some(true));
        for incident in &mut self.all {
            let lasts =
                FindingName::named(&incident.finding).is_some_and(|name| found.contains_key(&name));
            if incident.registry == registry && incident.closed.is_none() && !lasts && sees {
                close(incident, now, &id);
                changed.push(incident.clone());
            }
        }
        for (name, findings) in found {
            let Some(worst) = findings.iter().max_by_key(|finding| finding.severity) else {
                continue;
            };
            let backends = names(&findings);
            let index = self.recent(registry, name, now).unwrap_or_else(|| {
                let mut incident = open(registry, worst, &users, now, &id);
                // A subject may have it for longer, where it was not worth an incident meanwhile.
                incident.opened =
                    incident.opened.max(self.last_end(registry, name).unwrap_or_default());
                self.all.push(incident);
                self.all.len() - 1
            });
            let incident = &mut self.all[index];
            let before = incident.clone();
            reopen(incident);
            at(incident, &backends, now);
            let now_at_fault = backends.iter().filter(|name| !name.is_empty()).count();
            if is_worse(incident, worst.severity, &users, now_at_fault) {
                worsen(incident, worst, &users, &id);
                incident.backends_at_worst = now_at_fault;
            }
            if *incident != before || before.lasting.is_empty() {
                changed.push(incident.clone());
            }
        }
        self.make_room(MOST);
        changed
    }

    /// The incident of which a finding is the continuation.
    fn recent(&self, registry: &str, name: FindingName, now: DateTime<Utc>) -> Option<usize> {
        self.all.iter().rposition(|known| {
            known.registry == registry
                && known.finding == name.as_str()
                && known.closed.is_none_or(|closed| {
                    (now - closed).num_seconds().abs() <= RETURNS_WITHIN_SECONDS
                })
        })
    }

    /// When the last incident of this finding was over.
    fn last_end(&self, registry: &str, name: FindingName) -> Option<DateTime<Utc>> {
        let same = |known: &&Incident| known.registry == registry && known.finding == name.as_str();
        self.all.iter().filter(same).filter_map(|known| known.closed).max()
    }

    /// Ends the incidents of all registries but these; the result is each that this changed.
    pub fn leave(&mut self, registries: &BTreeSet<&str>, now: DateTime<Utc>) -> Vec<Incident> {
        let mut changed = Vec::new();
        for incident in &mut self.all {
            if incident.closed.is_none() && !registries.contains(incident.registry.as_str()) {
                end(incident, now, |_| false);
                incident.closed = Some(now);
                incident.note = Some(
                    "This prober stopped probing the registry; whether it is repaired is not known."
                        .to_owned(),
                );
                changed.push(incident.clone());
            }
        }
        changed
    }

    /// Removes incidents until no more than this number is left: first the oldest that are over,
    /// then the oldest.
    pub fn make_room(&mut self, most: usize) {
        while self.all.len() > most {
            let over = self.all.iter().position(|incident| incident.closed.is_some());
            self.all.remove(over.unwrap_or(0));
        }
    }

    /// Removes the oldest incident that is over and has a round for which this holds, to make room
    /// for rounds. Returns whether there was one.
    pub fn forget_oldest(&mut self, kept: impl Fn(&str) -> bool) -> bool {
        let takes_room = |incident: &Incident| incident.rounds.all().any(&kept);
        let over = |incident: &Incident| incident.closed.is_some() && takes_room(incident);
        let found = self.all.iter().position(over).or_else(|| self.all.iter().position(takes_room));
        found.map(|index| self.all.remove(index)).is_some()
    }

    /// The ids of all rounds that are kept with incidents.
    pub fn rounds(&self) -> BTreeSet<&str> {
        self.all.iter().flat_map(|incident| incident.rounds.all()).collect()
    }
}

/// The backends at fault, or the one empty name of a finding without any.
fn names(findings: &[&Finding]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for finding in findings {
        if finding.backends.is_empty() {
            all.insert(String::new());
        }
        all.extend(finding.backends.iter().take(MOST_BACKENDS).map(ToString::to_string));
    }
    all
}

fn open(
    registry: &str,
    finding: &Finding,
    users: &[UserShare],
    now: DateTime<Utc>,
    id: &str,
) -> Incident {
    Incident {
        registry: registry.to_owned(),
        finding: finding.finding.as_str().to_owned(),
        backends: Vec::new(),
        severity: finding.severity,
        summary: cut(&finding.summary),
        effect: cut(&finding.effect),
        users: users.to_vec(),
        // The journal may know of an earlier beginning than this program does.
        opened: finding.since.min(now),
        closed: None,
        returned: 0,
        lasting: Vec::new(),
        backends_at_worst: 0,
        longest_seconds: 0,
        note: None,
        rounds: KeptRounds { opening: id.to_owned(), worst: id.to_owned(), closing: None },
    }
}

fn reopen(incident: &mut Incident) {
    if incident.closed.take().is_some() {
        incident.returned += 1;
        incident.rounds.closing = None;
        incident.note = None;
    }
}

/// Notes where it lasts now.
fn at(incident: &mut Incident, backends: &BTreeSet<String>, now: DateTime<Utc>) {
    end(incident, now, |name| backends.contains(name));
    for name in backends {
        if !incident.lasting.iter().any(|(known, _)| known == name) {
            incident.lasting.push((name.clone(), now));
        }
        let room = incident.backends.len() < MOST_BACKENDS;
        if room && !name.is_empty() && !incident.backends.contains(name) {
            incident.backends.push(name.clone());
        }
    }
}

/// Ends it at all backends but these.
fn end(incident: &mut Incident, now: DateTime<Utc>, stays: impl Fn(&str) -> bool) {
    let mut longest = incident.longest_seconds;
    incident.lasting.retain(|(name, since)| {
        let stays = stays(name);
        if !stays {
            longest = longest.max((now - *since).num_seconds());
        }
        stays
    });
    incident.longest_seconds = longest;
}

fn close(incident: &mut Incident, now: DateTime<Utc>, id: &str) {
    end(incident, now, |_| false);
    incident.closed = Some(now);
    incident.rounds.closing = Some(id.to_owned());
    incident.note = restart(incident);
}

/// What a node does that is restarted: it is away for a short time, and comes back.
fn restart(incident: &Incident) -> Option<String> {
    let away = [
        FindingName::BackendUnreachable,
        FindingName::ServerErrors,
        FindingName::UnexplainedLoss,
        FindingName::LbHealthCheckWrong,
    ];
    let gone = away.iter().any(|name| name.as_str() == incident.finding);
    let seconds = incident.longest_seconds;
    // What goes away again and again is no restart.
    let returns = usize::try_from(incident.returned).unwrap_or(usize::MAX);
    if !gone || seconds > RESTART_SECONDS || returns >= incident.backends.len().max(1) {
        return None;
    }
    Some(match incident.backends.as_slice() {
        [] => format!("Like a restart: it was over after about {seconds} s."),
        [one] => format!("Like a restart: {one} did not answer for about {seconds} s."),
        several => format!(
            "Like a rolling restart: {} did not answer, each for at most {seconds} s.",
            several.join(", ")
        ),
    })
}

/// Whether a round is worse than the worst before: by severity, then by the users who fail, then by
/// the number of nodes at fault.
fn is_worse(incident: &Incident, severity: Severity, users: &[UserShare], backends: usize) -> bool {
    let (now, then) = (failing(users), failing(&incident.users));
    let more_nodes = backends > incident.backends_at_worst && now > then - WORSE;
    severity > incident.severity
        || severity == incident.severity && (now > then + WORSE || more_nodes)
}

/// The share of users who fail, over all kinds. One kind alone says little: of five logins all may
/// fail while hardly any other user does.
fn failing(users: &[UserShare]) -> f64 {
    let kinds = f64::from(u32::try_from(users.len()).unwrap_or(u32::MAX).max(1));
    users.iter().map(UserShare::ratio).sum::<f64>() / kinds
}

fn worsen(incident: &mut Incident, finding: &Finding, users: &[UserShare], id: &str) {
    incident.severity = finding.severity;
    incident.summary = cut(&finding.summary);
    incident.effect = cut(&finding.effect);
    incident.users = users.to_vec();
    id.clone_into(&mut incident.rounds.worst);
}

/// A sentence of bounded length, on one line.
fn cut(text: &str) -> String {
    one_line(text, LONGEST_TEXT)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::{ClientKind, ClientRun, Failure, Ratio, Reason, SampledFlow, Step, sample};

    const MISMATCH: FindingName = FindingName::TokenKeyMismatch;
    const AWAY: FindingName = FindingName::BackendUnreachable;

    /// A round this number of seconds later, with one finding, or none if no backend is named.
    fn at(seconds: i64, name: FindingName, severity: Severity, backends: &[&str]) -> Judged {
        let mut round = sample::round(&["a", "b", "c"]);
        round.started += TimeDelta::seconds(seconds);
        let mut finding = sample::finding(name, severity, backends);
        finding.since = round.started;
        let findings = if backends.is_empty() { Vec::new() } else { vec![finding] };
        (*sample::judged(round, findings)).clone()
    }

    fn failing(judged: &Judged, of_twenty: u32) -> Judged {
        let mut judged = judged.clone();
        let mut run = judged.round.balancer.measured().cloned().unwrap();
        run.pairs = crate::model::Ratio { events: of_twenty, trials: 20 };
        judged.round.balancer = crate::model::Outcome::Measured(run);
        judged
    }

    fn minutes(all: &Incidents) -> Vec<(i64, Option<i64>, u32)> {
        let since = |at: DateTime<Utc>| (at - sample::started()).num_minutes();
        all.all().iter().map(|i| (since(i.opened), i.closed.map(since), i.returned)).collect()
    }

    #[test]
    fn an_incident_lasts_until_a_round_is_free_of_it_and_soon_after_it_is_the_same_again() {
        let mut all = Incidents::default();
        let critical = Severity::Critical;
        let mut rounds = |minute: i64, backends: &[&str]| {
            all.take(&at(minute * 60, MISMATCH, critical, backends)).len()
        };
        assert_eq!([rounds(0, &["b"]), rounds(1, &["b"]), rounds(2, &["b", "c"])], [1, 0, 1]);
        assert_eq!([rounds(3, &[]), rounds(4, &[])], [1, 0], "the end is said once");
        assert_eq!(rounds(30, &["a"]), 1);
        assert_eq!(rounds(40, &[]), 1);
        assert_eq!(rounds(75, &["a"]), 1);
        assert_eq!(minutes(&all), [(0, Some(40), 1), (75, None, 0)]);
        assert_eq!(all.all()[0].backends, ["b", "c", "a"]);
        assert_eq!(all.all()[0].longest_seconds, 600);
    }

    #[test]
    fn an_incident_does_not_begin_before_the_one_before_it_was_over() {
        let mut all = Incidents::default();
        for (minute, backends) in [(0, &["a"][..]), (10, &[])] {
            all.take(&at(minute * 60, MISMATCH, Severity::Critical, backends));
        }
        let mut later = at(50 * 60, MISMATCH, Severity::Critical, &["a"]);
        later.assessment.findings[0].since = sample::started();
        all.take(&later);
        assert_eq!(minutes(&all), [(0, Some(10), 0), (10, None, 0)]);
    }

    #[test]
    fn incidents_of_a_registry_that_left_the_configuration_are_over() {
        let mut all = Incidents::default();
        all.take(&at(0, MISMATCH, Severity::Critical, &["a"]));
        let now = sample::started() + TimeDelta::minutes(5);
        let registry = sample::round(&["a"]).registry;
        assert_eq!(all.leave(&[registry.as_str()].into(), now), []);
        let ended = all.leave(&BTreeSet::new(), now);
        assert_eq!(ended, all.all(), "it is written down");
        assert_eq!(minutes(&all), [(0, Some(5), 0)]);
        assert!(ended[0].note.as_deref().unwrap().starts_with("This prober stopped"), "{ended:?}");
        assert_eq!(all.leave(&BTreeSet::new(), now), [], "it is said once");
    }

    #[test]
    fn a_round_in_which_no_route_answers_ends_no_incident_and_says_who_is_failed() {
        let mut all = Incidents::default();
        all.take(&at(0, MISMATCH, Severity::Critical, &["b"]));
        let mut down = at(60, AWAY, Severity::Critical, &["a"]);
        for route in ["a", "b", "c", "lb"] {
            sample::fail(&mut down.round, route, Step::Challenge, Reason::ConnectionRefused);
        }
        down.round.balancer = crate::model::Outcome::Skipped(crate::model::Skipped::Disabled);
        all.take(&down);
        assert_eq!(minutes(&all), [(0, None, 0), (1, None, 0)]);
        let users = &all.all()[1].users;
        assert!(users.len() == 1 && (users[0].failed, users[0].of) == (1, 1), "{users:?}");
        all.take(&at(120, AWAY, Severity::Critical, &[]));
        assert_eq!(minutes(&all), [(0, Some(2), 0), (1, Some(2), 0)]);
    }

    #[test]
    fn opening_worst_and_closing_round_are_named() {
        let mut all = Incidents::default();
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        let rounds = [
            at(0, MISMATCH, warning, &["b"]),
            failing(&at(15, MISMATCH, critical, &["b"]), 4),
            failing(&at(30, MISMATCH, critical, &["b"]), 11),
            // Not worse than luck of the draw.
            failing(&at(45, MISMATCH, critical, &["b"]), 12),
            failing(&at(60, MISMATCH, critical, &["b"]), 3),
            at(75, MISMATCH, critical, &[]),
        ];
        for round in &rounds {
            all.take(round);
        }
        let incident = &all.all()[0];
        let id = |index: usize| round_id(&rounds[index].round);
        assert_eq!(incident.rounds.all().collect::<Vec<_>>(), [id(0), id(2), id(5)]);
        assert_eq!(incident.severity, critical);
        let users = &incident.users[0];
        assert_eq!((users.kind.as_str(), users.failed, users.of), ("independent flows", 11, 20));
    }

    #[test]
    fn the_worst_round_is_that_with_the_most_users_and_nodes_not_the_first_in_which_one_kind_fails()
    {
        let clients = |judged: &Judged, of_five: u32| {
            let mut judged = judged.clone();
            let mut run = judged.round.balancer.measured().cloned().unwrap();
            run.clients = ClientKind::ALL
                .map(|kind| ClientRun {
                    logins: Ratio {
                        events: if kind == ClientKind::Docker { 5 } else { of_five },
                        trials: 5,
                    },
                    ..ClientRun::of(kind)
                })
                .to_vec();
            judged.round.balancer = crate::model::Outcome::Measured(run);
            judged
        };
        let critical = Severity::Critical;
        // docker fails from the first round on.
        let rounds = [
            clients(&failing(&at(0, MISMATCH, critical, &["b"]), 6), 0),
            clients(&failing(&at(15, MISMATCH, critical, &["b"]), 16), 4),
            clients(&failing(&at(30, MISMATCH, critical, &["b", "c"]), 16), 4),
            clients(&failing(&at(45, MISMATCH, critical, &["b"]), 6), 0),
        ];
        let mut all = Incidents::default();
        let worst = |all: &Incidents| all.all()[0].rounds.worst.clone();
        for (taken, expected) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
            all.take(&rounds[taken]);
            assert_eq!(worst(&all), round_id(&rounds[expected].round), "after round {taken}");
        }
        let lasts = all.all()[0].clone();
        assert_eq!(lasts.longest_seconds, 15, "c was at fault for one round");
        let now = sample::started() + TimeDelta::seconds(60);
        assert_eq!(lasts.as_of(now).longest_seconds, 60, "b still is");
    }

    #[test]
    fn lost_flows_count_as_failed_users() {
        let mut round = sample::round(&["a"]);
        let mut run = round.balancer.measured().cloned().unwrap();
        run.pairs = crate::model::Ratio { events: 1, trials: 7 };
        for _ in 0..3 {
            let lost = Failure::of_answer(Reason::ConnectionReset, "");
            run.fail(SampledFlow::Pair, Step::Token, lost, None);
        }
        round.balancer = crate::model::Outcome::Measured(run);
        let users = UserShare::all(&round);
        assert_eq!(
            (users[0].kind.as_str(), users[0].failed, users[0].of),
            ("independent flows", 4, 10)
        );
    }

    #[test]
    fn nodes_that_are_away_in_turn_for_a_minute_are_a_restart_and_one_that_stays_away_is_none() {
        let warning = Severity::Warning;
        let course = |rounds: &[(i64, &[&str])]| {
            let mut all = Incidents::default();
            for (seconds, backends) in rounds {
                all.take(&at(*seconds, AWAY, warning, backends));
            }
            assert_eq!(all.all().len(), 1, "it is one incident");
            all.all()[0].note.clone()
        };
        let rolling = course(&[(0, &["a"]), (45, &["b"]), (90, &[]), (105, &["c"]), (165, &[])]);
        let expected = "Like a rolling restart: a, b, c did not answer, each for at most 60 s.";
        assert_eq!(rolling.as_deref(), Some(expected));
        let one = course(&[(0, &["a"]), (30, &[])]);
        assert_eq!(one.as_deref(), Some("Like a restart: a did not answer for about 30 s."));
        assert_eq!(course(&[(0, &["a"]), (135, &[])]), None);
        assert_eq!(course(&[(0, &["a"]), (30, &[]), (60, &["a"])]), None, "it lasts");
        let again = course(&[(0, &["a"]), (30, &[]), (60, &["a"]), (90, &[])]);
        assert_eq!(again, None, "a node that goes away again and again");
    }

    #[test]
    fn what_is_worth_knowing_is_no_incident_and_the_oldest_that_are_over_go() {
        let mut all = Incidents::default();
        all.take(&at(0, MISMATCH, Severity::Info, &["a"]));
        assert_eq!(all.all().len(), 0);
        all.take(&at(0, AWAY, Severity::Warning, &["a"]));
        for hour in 0..i64::try_from(MOST).unwrap() + 5 {
            let start = hour * 3600 + 60;
            for (seconds, backends) in [(start, &["a"][..]), (start + 60, &[])] {
                let mut round = at(seconds, MISMATCH, Severity::Critical, backends);
                let away = sample::finding(AWAY, Severity::Warning, &["a"]);
                round.assessment.findings.push(away);
                all.take(&round);
            }
        }
        assert_eq!(all.all().len(), MOST);
        assert!(all.all()[0].closed.is_none(), "what lasts stays: {:?}", all.all()[0]);
        let last = all.all().last().unwrap();
        assert!((last.opened - sample::started()).num_hours() >= 304);
    }
}

//! What was wrong in the last hours, as text.

use chrono::{DateTime, Utc};

use super::text::{BOLD, Page, severity_style};
use super::wording::{count, list, severity_word};
use crate::model::{Incident, UserShare};

/// Incidents of a daemon since a moment, the latest first.
pub fn render(
    incidents: &[Incident],
    daemon: &str,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
    width: usize,
) -> String {
    let mut page = Page::new(width);
    let since = from.format("%Y-%m-%d %H:%M UTC");
    let lasting = incidents.iter().filter(|incident| incident.closed.is_none()).count();
    let number = match (incidents.len(), lasting) {
        (0, _) => "No incident".to_owned(),
        (all, _) => count(all, "incident"),
    };
    let open = match lasting {
        0 => String::new(),
        1 => "; 1 is not over".to_owned(),
        several => format!("; {several} are not over"),
    };
    page.paragraph("", BOLD, &format!("{number} since {since}{open}."));
    for incident in incidents.iter().rev() {
        block(&mut page, incident, daemon, now);
    }
    page.into_text()
}

fn block(page: &mut Page, incident: &Incident, daemon: &str, now: DateTime<Utc>) {
    page.gap();
    let lead = format!("{}  ", severity_word(incident.severity));
    let at = match incident.backends.as_slice() {
        [] => String::new(),
        backends => format!(" at {}", list(backends)),
    };
    let text = format!("{}{at}, registry {}", incident.finding, incident.registry);
    page.paragraph(&lead, severity_style(incident.severity), &text);
    let entry = |page: &mut Page, label: &str, text: &str| {
        page.paragraph(&format!("  {label:10}"), BOLD, text);
    };
    entry(page, "When", &when(incident, now));
    entry(page, "What", &incident.summary);
    if !incident.users.is_empty() {
        let users: Vec<String> = incident.users.iter().map(user).collect();
        entry(page, "Users", &format!("{} failed at worst", users.join(", ")));
    }
    if let Some(note) = &incident.note {
        entry(page, "Note", note);
    }
    let root = daemon.trim_end_matches('/');
    entry(page, "Worst", &format!("{root}/rounds/{}", incident.rounds.worst));
}

fn when(incident: &Incident, now: DateTime<Utc>) -> String {
    let long = |end: DateTime<Utc>| match (end - incident.opened).num_seconds() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    };
    let opened = incident.opened.format("%Y-%m-%d %H:%M:%S");
    let back = match incident.returned {
        0 => String::new(),
        times => format!("; it came back {}", count(times as usize, "time")),
    };
    match incident.closed {
        Some(closed) => {
            let same_day = closed.date_naive() == incident.opened.date_naive();
            let form = if same_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
            format!("{opened} to {} UTC ({}){back}", closed.format(form), long(closed))
        }
        None => format!("since {opened} UTC, {} ago, and not over{back}", long(now)),
    }
}

fn user(share: &UserShare) -> String {
    format!("{} of {} {} ({:.0} %)", share.failed, share.of, share.kind, share.ratio() * 100.0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::sample::started;
    use crate::model::{KeptRounds, Severity};

    #[test]
    fn the_morning_after_reads_what_was_wrong_how_long_and_for_how_many() {
        let opened = started();
        let incident = Incident {
            registry: "main".to_owned(),
            finding: "token-key-mismatch".to_owned(),
            backends: vec!["c".to_owned()],
            severity: Severity::Critical,
            summary: "c signs with another key than a and b.".to_owned(),
            effect: String::new(),
            users: vec![UserShare { kind: "independent flows".to_owned(), failed: 9, of: 20 }],
            opened,
            closed: Some(opened + TimeDelta::minutes(22)),
            returned: 1,
            lasting: Vec::new(),
            backends_at_worst: 1,
            longest_seconds: 900,
            note: None,
            rounds: KeptRounds { worst: "main-2".to_owned(), ..KeptRounds::default() },
        };
        let lasts = Incident { closed: None, backends: Vec::new(), ..incident.clone() };
        let text = render(
            &[incident, lasts],
            "http://127.0.0.1:9912/",
            opened - TimeDelta::hours(1),
            opened + TimeDelta::hours(8),
            80,
        );
        let text = anstream::adapter::strip_str(&text).to_string();
        let on_one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(on_one_line.contains("UTC, 8 h ago, and not over; it came back 1 time"), "{text}");
        for line in [
            "2 incidents since 2026-11-18 10:06 UTC; 1 is not over.",
            "CRITICAL  token-key-mismatch at c, registry main",
            "UTC (22 min); it came back 1 time",
            "  Users     9 of 20 independent flows (45 %) failed at worst",
            "  Worst     http://127.0.0.1:9912/rounds/main-2",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let none = render(&[], "", opened, opened, 80);
        assert!(none.contains("No incident since "), "{none}");
    }
}

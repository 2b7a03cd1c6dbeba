//! Facts in words: lists of backends with verbs that agree, versions, refused pairs.

use crate::model::{BackendFacts, BackendName, Cell, Outcome};

/// `The load balancer` where no backend is named, else the backends.
pub(super) fn subject(backends: &[BackendName]) -> String {
    if backends.is_empty() { "The load balancer".to_owned() } else { list(backends) }
}

/// The form of a verb that agrees with a list of backends. An empty list stands for the load
/// balancer, which is one.
pub(super) fn verb<'w>(count: usize, one: &'w str, several: &'w str) -> &'w str {
    if count > 1 { several } else { one }
}

/// The most things that a sentence names; a sentence of a hundred names is not read.
const MOST_NAMED: usize = 12;

/// `a`, `a and b`, `a, b and c`; of more than a dozen the first ones and `88 more`.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    let mut words: Vec<String> = items.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    if items.len() > MOST_NAMED {
        let named = words.len() - 1;
        words.truncate(named);
        words.push(format!("{} more", items.len() - named));
    }
    match words.split_last() {
        None => "no backend".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The version of a backend, in words.
pub(super) fn version_text(facts: &BackendFacts) -> String {
    match &facts.version {
        Outcome::Measured(Some(version)) => format!("{} {version}", facts.family),
        Outcome::Measured(None) => format!("{} 2.13 or later", facts.family),
        Outcome::Failed(_) | Outcome::Skipped(_) => facts.family.to_string(),
    }
}

/// One refused pair in words.
pub(super) fn describe(cell: &Cell) -> Option<String> {
    let refusal = cell.refusal()?;
    let challenge = refusal.answer.challenge.as_ref();
    let said = challenge.map_or_else(String::new, |challenge| {
        let error = challenge.error.as_ref().map(|error| format!(" error={error:?}"));
        format!(" {:?}{}", challenge.scheme, error.unwrap_or_default())
    });
    let time = match refusal.healed_after {
        Some(after) => format!("the same token was accepted after {after:.1} s"),
        None if refusal.tries > 1 => {
            format!("the same token was still refused after {:.1} s", refusal.refused_until)
        }
        None => "not asked again".to_owned(),
    };
    Some(format!("{} → {}: {}{said}; {time}", cell.issuer, cell.verifier, refusal.answer.status))
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn a_list_reads_as_a_sentence_and_ends() {
        let named = |count: usize| list(&(1..=count).collect::<Vec<_>>());
        for (count, words) in [
            (0, "no backend"),
            (1, "1"),
            (2, "1 and 2"),
            (12, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 12"),
            (13, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"),
            (100, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 89 more"),
        ] {
            assert_eq!(named(count), words);
        }
    }
}

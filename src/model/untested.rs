//! What was not measured, in one sentence for people.

use super::{Assessment, Unmeasured};

impl Unmeasured {
    /// What it is, in words.
    pub fn words(&self) -> String {
        let what = match self.what.as_str() {
            "flow" => "the token flow",
            "matrix" => "pairs of nodes",
            "samples" => "requests through the load balancer",
            other => other,
        };
        match &self.route {
            Some(route) if self.what != "samples" => format!("{what} of {route}"),
            _ => what.to_owned(),
        }
    }
}

impl Assessment {
    /// Whether nothing is missing that could be measured. Opaque tokens tell no keys, and are sound.
    pub fn is_complete(&self) -> bool {
        self.unmeasured.iter().all(|missing| missing.what == "keys")
    }

    /// What is essential and was not measured, and why: `NOT TESTED: tokens, because …`. Nothing if
    /// nothing is missing.
    pub fn not_tested(&self) -> Option<String> {
        let essential = || self.unmeasured.iter().filter(|missing| missing.essential);
        let first = essential().next()?;
        let alike: Vec<&Unmeasured> = essential().filter(|other| other.why == first.why).collect();
        // What is missing on several routes is said once, with the routes.
        let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
        for missing in &alike {
            let route = missing.route.as_deref().filter(|_| missing.what != "samples");
            match parts.iter_mut().find(|(what, _)| *what == missing.what) {
                Some((_, routes)) => routes.extend(route),
                None => parts.push((&missing.what, route.into_iter().collect())),
            }
        }
        let words = parts.into_iter().map(|(what, routes)| {
            let route = (!routes.is_empty()).then(|| join(&routes));
            let (what, why) = (what.to_owned(), String::new());
            Unmeasured { what, route, why, essential: true }.words()
        });
        let words: Vec<String> = words.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Some(format!("NOT TESTED: {}, because {}", join(&words), first.why))
    }
}

/// `a`, `a and b`, `a, b and c`; of many the first, and how many more.
fn join(words: &[&str]) -> String {
    const MOST: usize = 6;
    if words.len() > MOST {
        return format!("{} and {} more", words[..MOST].join(", "), words.len() - MOST);
    }
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(what: &str, route: Option<&str>, why: &str, essential: bool) -> Unmeasured {
        let route = route.map(str::to_owned);
        Unmeasured { what: what.to_owned(), route, why: why.to_owned(), essential }
    }

    #[test]
    fn one_sentence_says_what_was_not_tested_and_what_helps() {
        let none = "no credentials were given: add --username";
        let full = "this host has no descriptor left";
        for (unmeasured, said) in [
            (vec![], None),
            (vec![missing("upload", None, "late", false)], None),
            (
                vec![missing("tokens", None, none, true)],
                Some("NOT TESTED: tokens, because no credentials were given: add --username"),
            ),
            (
                vec![
                    missing("tokens", None, none, true),
                    missing("samples", Some("lb"), none, true),
                ],
                Some(
                    "NOT TESTED: tokens and requests through the load balancer, because no \
                     credentials were given: add --username",
                ),
            ),
            (
                vec![
                    missing("flow", Some("a"), full, true),
                    missing("upload", None, full, false),
                    missing("flow", Some("lb"), full, true),
                    missing("matrix", None, "late", true),
                ],
                Some(
                    "NOT TESTED: the token flow of a and lb, because this host has no descriptor \
                     left",
                ),
            ),
        ] {
            let assessment = Assessment { unmeasured, ..Assessment::default() };
            assert_eq!(assessment.not_tested().as_deref(), said);
        }
    }
}

//! Reads just enough of a `PromQL` expression to judge it: which metrics it names, with which
//! matchers, over which range and inside which call. Whether it parses is promtool's question.

use registry_prober::metrics::names::{ALL, Kind};

/// Where an expression names a metric.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    /// The metric's name as written.
    pub(crate) metric: String,
    /// The text between the braces.
    pub(crate) matchers: String,
    /// The text between the brackets behind it.
    pub(crate) range: Option<String>,
    /// The function or aggregation right around it.
    pub(crate) inside: String,
}

impl Use {
    /// The label names that the matchers use.
    pub(crate) fn matched_labels(&self) -> Vec<String> {
        let mut rest = self.matchers.as_str();
        let mut labels = Vec::new();
        while let Some(end) = rest.find(['=', '!']) {
            labels.push(rest[..end].trim_matches([',', ' ']).to_owned());
            let value = rest[end..].find('"').map_or("", |quote| &rest[end + quote + 1..]);
            rest = value.find('"').map_or("", |quote| &value[quote + 1..]);
        }
        labels
    }
}

/// Every metric that an expression names, in order.
pub(crate) fn uses(expression: &str) -> Vec<Use> {
    let mut reader = Reader { text: expression.chars().collect(), at: 0 };
    let mut calls = vec![String::new()];
    let mut call = String::new();
    let mut found = Vec::new();
    while let Some(c) = reader.peek() {
        match c {
            '"' | '\'' => drop(reader.quoted()),
            '(' => {
                calls.push(std::mem::take(&mut call));
                reader.at += 1;
            }
            ')' => {
                calls.pop();
                reader.at += 1;
            }
            '[' => drop(reader.enclosed(']')),
            c if c.is_ascii_digit() => drop(reader.word()),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let word = reader.word();
                reader.spaces();
                let next = reader.peek();
                match word.as_str() {
                    "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                        if next == Some('(') {
                            reader.enclosed(')');
                        }
                    }
                    "and" | "or" | "unless" | "offset" | "bool" | "NaN" | "Inf" => {}
                    // An aggregation's name stands before its grouping as well: `sum by (x) (…)`.
                    _ if next == Some('(') || is_aggregation(&word) => call = word,
                    _ => {
                        let matchers =
                            if next == Some('{') { reader.enclosed('}') } else { String::new() };
                        let range = (reader.peek() == Some('[')).then(|| reader.enclosed(']'));
                        let inside = calls.last().cloned().unwrap_or_default();
                        found.push(Use { metric: word, matchers, range, inside });
                    }
                }
            }
            _ => reader.at += 1,
        }
    }
    found
}

fn is_aggregation(word: &str) -> bool {
    matches!(word, "sum" | "min" | "max" | "avg" | "count" | "group" | "quantile" | "topk")
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.text[start..self.at].iter().collect()
    }

    fn word(&mut self) -> String {
        self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.'))
    }

    fn spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn quoted(&mut self) -> String {
        let quote = self.peek();
        self.at += 1;
        let text = self.take_while(|c| Some(c) != quote);
        self.at += 1;
        text
    }

    /// The text up to `close`, which a quoted text may hold as well; leaves the reader behind it.
    fn enclosed(&mut self, close: char) -> String {
        self.at += 1;
        let start = self.at;
        while let Some(c) = self.peek().filter(|c| *c != close) {
            if c == '"' {
                self.quoted();
            } else {
                self.at += 1;
            }
        }
        let text = self.text[start..self.at.min(self.text.len())].iter().collect();
        self.at += 1;
        text
    }
}

/// The kind and labels of a series: ours with its prefix, or one that Prometheus makes itself.
pub(crate) fn known(series: &str) -> Option<(Kind, &'static [&'static str])> {
    if series == "up" {
        return Some((Kind::Gauge, &[]));
    }
    ALL.iter().find_map(|metric| {
        let matches = match metric.kind {
            Kind::Histogram(_) => series
                .strip_prefix(metric.name)
                .is_some_and(|suffix| matches!(suffix, "_bucket" | "_sum" | "_count")),
            Kind::Counter | Kind::Gauge => series == metric.name,
        };
        matches.then_some((metric.kind, metric.labels))
    })
}

/// What is wrong with the metrics of an expression: unknown names, unknown labels, counters
/// outside `rate` and its like. `recorded` are the names that recording rules make.
pub(crate) fn faults(expression: &str, recorded: &[String]) -> Vec<String> {
    let scrape_labels = ["job", "instance", "pod", "le"];
    let mut faults = Vec::new();
    for found in uses(expression).iter().filter(|found| !recorded.contains(&found.metric)) {
        let Some((kind, labels)) = known(&found.metric) else {
            faults.push(format!("{} is not a metric of the prober", found.metric));
            continue;
        };
        for label in found.matched_labels() {
            if !labels.contains(&label.as_str()) && !scrape_labels.contains(&label.as_str()) {
                faults.push(format!("{} has no label {label}", found.metric));
            }
        }
        let counted = kind != Kind::Gauge;
        let rated = matches!(found.inside.as_str(), "rate" | "irate" | "increase");
        if counted != rated {
            faults.push(format!("{} inside {:?}", found.metric, found.inside));
        }
    }
    faults
}

mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_with_matchers_range_and_call_and_nothing_else_is() {
        let expression = r#"sum by (le, job) (rate(a_bucket{x="1,2}",y!~"z"}[$__rate_interval]))
            / on (job) group_left b{} * 1e3 or vector(NaN) unless max(c offset 5m @ end()) > time()"#;
        let found = uses(expression);
        let names: Vec<_> = found.iter().map(|found| found.metric.as_str()).collect();
        assert_eq!(names, ["a_bucket", "b", "c"]);
        assert_eq!(found[0].matched_labels(), ["x", "y"]);
        assert_eq!(found[0].range.as_deref(), Some("$__rate_interval"));
        assert_eq!((found[0].inside.as_str(), found[2].inside.as_str()), ("rate", "max"));
    }

    #[test]
    fn each_fault_is_told_and_its_sound_twin_is_not() {
        let recorded = ["level:thing:ratio".to_owned()];
        for (sound, fault) in [
            ("up", "down"),
            ("registry_prober_token_keys", "registry_prober_token_key"),
            ("level:thing:ratio", "level:other:ratio"),
            ("registry_prober_findings{severity=\"x\"}", "registry_prober_findings{route=\"x\"}"),
            ("rate(registry_prober_flows_total[5m])", "sum(registry_prober_flows_total)"),
            ("max(registry_prober_token_keys)", "rate(registry_prober_token_keys[5m])"),
            (
                "rate(registry_prober_step_duration_seconds_bucket[5m])",
                "rate(registry_prober_step_duration_seconds[5m])",
            ),
        ] {
            assert_eq!(faults(sound, &recorded), Vec::<String>::new());
            assert_eq!(faults(fault, &recorded).len(), 1, "{fault}");
        }
    }
}

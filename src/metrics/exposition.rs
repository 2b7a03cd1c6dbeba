//! From samples to the bytes of a page: text format 0.0.4 and OpenMetrics 1.0.0.
//!
//! The metrics library writes the sample lines; the two formats differ only in the lines around
//! them and in how a whole number is written as a bucket's bound.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramValue, LabelPair, Metric, MetricFamily,
    MetricType,
};
use prometheus::{Encoder, TextEncoder};

use super::histogram::Histogram;
use super::names::{Definition, Kind};

/// Samples encoded at once; keeps the memory of a scrape flat with hundreds of registries.
const CHUNK: usize = 256;

/// A format that Prometheus can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// The exact `Content-Type`; Prometheus 3 refuses a page with another one.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header likes best (RFC 9110, 12.5.1): greatest quality, then
    /// first named. Text where the header is missing or names nothing known.
    pub(super) fn negotiate(accept: Option<&str>) -> Self {
        let ranges: Vec<Range<'_>> = accept.unwrap_or("*/*").split(',').map(Range::parse).collect();
        let mut best = (Self::Text, 0.0, usize::MAX);
        for format in [Self::Text, Self::OpenMetrics] {
            let matching = ranges.iter().enumerate().filter_map(|(place, range)| {
                range.specificity(format).map(|specificity| (specificity, place, range.quality))
            });
            // The most specific range decides; the first one of equals.
            let Some((_, place, quality)) =
                matching.max_by_key(|(specificity, place, _)| (*specificity, usize::MAX - place))
            else {
                continue;
            };
            if quality > best.1 || (quality > 0.0 && quality >= best.1 && place < best.2) {
                best = (format, quality, place);
            }
        }
        best.0
    }

    fn media_type(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain", "0.0.4"),
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        }
    }
}

/// One media range of an `Accept` header.
struct Range<'a> {
    media_type: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range =
            Self { media_type: parts.next().unwrap_or_default(), version: None, quality: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "version" => range.version = Some(value.trim().trim_matches('"')),
                "q" => range.quality = value.trim().parse().unwrap_or(0.0),
                _ => {}
            }
        }
        range
    }

    /// How precisely the range names the format; `None` if it does not.
    fn specificity(&self, format: Format) -> Option<u8> {
        let (kind, subtype, version) = format.media_type();
        let (wanted_kind, wanted_subtype) = self.media_type.split_once('/')?;
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        match (same(wanted_kind, kind), same(wanted_subtype, subtype)) {
            (true, true) => match self.version {
                None => Some(2),
                Some(wanted) => (wanted == version).then_some(3),
            },
            (true, false) if wanted_subtype == "*" => Some(1),
            _ => (self.media_type == "*/*").then_some(0),
        }
    }
}

/// One sample: the values of its definition's labels, and a number or a histogram.
pub(super) struct Sample {
    labels: Vec<String>,
    value: Value,
}

enum Value {
    Number(f64),
    Histogram(HistogramValue),
}

impl Sample {
    /// A counter or a gauge.
    pub(super) fn number<const N: usize>(labels: [&str; N], value: f64) -> Self {
        Self { labels: labels.map(str::to_owned).into(), value: Value::Number(value) }
    }

    /// A counter.
    #[expect(clippy::cast_precision_loss, reason = "samples are floats; 2^53 events is far")]
    pub(super) fn count<const N: usize>(labels: [&str; N], value: u64) -> Self {
        Self::number(labels, value as f64)
    }

    /// A gauge that is 0 or 1.
    pub(super) fn flag<const N: usize>(labels: [&str; N], value: bool) -> Self {
        Self::number(labels, f64::from(value))
    }

    /// A histogram.
    pub(super) fn histogram<const N: usize>(labels: [&str; N], histogram: &Histogram) -> Self {
        let buckets = histogram.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut value = HistogramValue::default();
        value.set_bucket(buckets.collect());
        value.set_sample_count(histogram.count());
        value.set_sample_sum(histogram.sum());
        Self { labels: labels.map(str::to_owned).into(), value: Value::Histogram(value) }
    }

    /// A NaN or an infinity is no measurement.
    fn is_finite(&self) -> bool {
        !matches!(self.value, Value::Number(number) if !number.is_finite())
    }

    fn into_metric(self, definition: &Definition) -> Metric {
        let pair = |(name, value): (&&str, String)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        };
        let labels = definition.labels.iter().zip(self.labels).map(pair);
        let mut metric = Metric::from_label(labels.collect());
        match (self.value, definition.kind) {
            (Value::Number(number), Kind::Counter) => {
                let mut counter = Counter::default();
                counter.set_value(number);
                metric.set_counter(counter);
            }
            (Value::Number(number), Kind::Gauge | Kind::Histogram(_)) => {
                let mut gauge = Gauge::default();
                gauge.set_value(number);
                metric.set_gauge(gauge);
            }
            (Value::Histogram(value), _) => metric.set_histogram(value),
        }
        metric
    }
}

/// A page being written.
pub(super) struct Page {
    format: Format,
    text: Vec<u8>,
}

impl Page {
    /// An empty page.
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: Vec::new() }
    }

    /// Adds one metric with all its samples; nothing at all without any.
    pub(super) fn family(
        &mut self,
        definition: &Definition,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let mut samples = samples.into_iter().filter(Sample::is_finite).peekable();
        if samples.peek().is_none() {
            return;
        }
        self.header(definition.name, definition.help, definition.kind.as_str());
        let mut family = MetricFamily::default();
        family.set_name(definition.name.to_owned());
        family.set_field_type(match definition.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram(_) => MetricType::HISTOGRAM,
        });
        while samples.peek().is_some() {
            let chunk = samples.by_ref().take(CHUNK);
            family.set_metric(chunk.map(|sample| sample.into_metric(definition)).collect());
            self.samples(&family);
        }
    }

    /// Adds a family that the metrics library collected itself.
    pub(super) fn foreign(&mut self, family: &MetricFamily) {
        let kind = format!("{:?}", family.get_field_type()).to_ascii_lowercase();
        self.header(family.name(), family.help(), &kind);
        self.samples(family);
    }

    /// The finished page with its `Content-Type`.
    pub(super) fn finish(mut self) -> (&'static str, Vec<u8>) {
        if self.format == Format::OpenMetrics {
            self.text.extend_from_slice(b"# EOF\n");
        }
        (self.format.content_type(), self.text)
    }

    fn header(&mut self, name: &str, help: &str, kind: &str) {
        let name = match self.format {
            Format::OpenMetrics if kind == "counter" => name.trim_end_matches("_total"),
            Format::OpenMetrics | Format::Text => name,
        };
        let lines = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.text.extend_from_slice(lines.as_bytes());
    }

    fn samples(&mut self, family: &MetricFamily) {
        let mut lines = Vec::new();
        // Fails only for a family without samples, and then there is nothing to write.
        if TextEncoder::new().encode(std::slice::from_ref(family), &mut lines).is_err() {
            return;
        }
        let canonical =
            self.format == Format::OpenMetrics && family.get_field_type() == MetricType::HISTOGRAM;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            // The header is ours, and a label's value never begins a line.
            if line.starts_with(b"#") {
                continue;
            }
            match whole_bound(line).filter(|_| canonical) {
                Some((head, tail)) => {
                    self.text.extend_from_slice(head);
                    self.text.extend_from_slice(b".0");
                    self.text.extend_from_slice(tail);
                }
                None => self.text.extend_from_slice(line),
            }
        }
    }
}

/// Splits a bucket's line after a bound that is a whole number: OpenMetrics writes `le="1.0"`.
fn whole_bound(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const LABEL: &[u8] = b"le=\"";
    // `le` is the last label, and quotes inside values are escaped.
    let start = line.windows(LABEL.len()).rposition(|part| part == LABEL)? + LABEL.len();
    let digits = line.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (head, tail) = line.split_at_checked(start + digits)?;
    (digits > 0 && tail.starts_with(b"\"")).then_some((head, tail))
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn the_client_chooses_the_format() {
        let openmetrics = [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text;version=\"1.0.0\";q=0.9,text/plain;q=0.5",
            "application/openmetrics-text,text/plain",
            // Prometheus 2.42 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "text/plain;q=0,*/*",
            "application/*",
        ];
        let text = [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            "text/plain,application/openmetrics-text",
            "application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4",
            "application/openmetrics-text;q=0.2,text/plain;q=0.3",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=nonsense,*/*;q=0.1",
            "image/png",
            ";;;,=,/",
        ];
        for accept in openmetrics {
            assert_eq!(Format::negotiate(Some(accept)), Format::OpenMetrics, "{accept}");
        }
        for accept in text {
            assert_eq!(Format::negotiate(Some(accept)), Format::Text, "{accept}");
        }
        assert_eq!(Format::negotiate(None), Format::Text);
    }
}

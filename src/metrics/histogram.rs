//! Observations sorted into buckets.

/// Counts by upper bound. The bounds themselves stand in the table of names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// Observations in each bucket alone; those above the last bound are only in `count`.
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    /// No observation yet.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: vec![0; bounds.len()], count: 0, sum: 0.0 }
    }

    /// Adds one observation in seconds.
    pub(super) fn observe(&mut self, seconds: f64) {
        let place = self.bounds.iter().position(|bound| seconds <= *bound);
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// How many observations there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Their sum in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bound and number of observations up to it, smallest bound first, without `+Inf`.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds.iter().zip(&self.buckets).scan(0, |total, (bound, count)| {
            *total += count;
            Some((*bound, *total))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_all_only_to_the_count() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for seconds in [0.05, 0.1, 0.11, 1.0, 7.0] {
            histogram.observe(seconds);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(0.1, 2), (1.0, 4)]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 8.26).abs() < 1e-9);
    }
}

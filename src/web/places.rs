//! Which connections have a place at the port. A new one gets a place even if others hold on to
//! theirs.
//!
//! Places reserved for health checks and scrapes would not help: whoever fills the port can ask for
//! `/metrics` too, and from loopback. So no place is kept free. A new connection takes the place of
//! an old one: of the address that holds the most, the one that has let the server wait longest. A
//! connection that is being answered is never displaced. One that does its part at once does not
//! let the server wait long enough to be the next.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Places {
    total: usize,
    /// The most of one address, while others want places as well.
    each: usize,
    open: Mutex<Vec<Place>>,
}

#[derive(Debug)]
struct Place {
    client: IpAddr,
    turn: Arc<Turn>,
    end: CancellationToken,
}

/// Since when the server waits for its client; none while it is at work itself.
#[derive(Debug)]
pub(super) struct Turn(Mutex<Option<Instant>>);

impl Turn {
    /// The client has asked.
    pub(super) fn server(&self) {
        *self.lock() = None;
    }

    /// The client has to read its answer, or to ask.
    pub(super) fn client(&self) {
        *self.lock() = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    /// Whose turn it is on this connection.
    pub(super) turn: Arc<Turn>,
    /// Cancelled when another client gets the place.
    pub(super) displaced: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.lock().retain(|place| !Arc::ptr_eq(&place.turn, &self.turn));
    }
}

impl Places {
    pub(super) fn new(total: usize, each: usize) -> Self {
        Self { total, each, open: Mutex::default() }
    }

    /// A place for a client; none only while every single connection is being answered.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Seat> {
        let client = network(client);
        let turn = Arc::new(Turn(Mutex::new(Some(Instant::now()))));
        let displaced = CancellationToken::new();
        let mut open = self.lock();
        let waiting =
            open.iter().filter(|place| place.client == client && place.turn.lock().is_some());
        if waiting.count() >= self.each {
            displace(&mut open, |place| place.client == client);
        }
        if open.len() >= self.total && !displace(&mut open, |_| true) {
            return None;
        }
        open.push(Place { client, turn: Arc::clone(&turn), end: displaced.clone() });
        Some(Seat { places: Arc::clone(self), turn, displaced })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connection that lets the server wait longest, among those of the client with the most
/// places; `false` if every one is being answered.
fn displace(open: &mut Vec<Place>, among: impl Fn(&Place) -> bool) -> bool {
    let held = |client: IpAddr| open.iter().filter(|place| place.client == client).count();
    let waiting =
        open.iter().enumerate().filter(|(_, place)| among(place)).filter_map(|(index, place)| {
            let since = (*place.turn.lock())?;
            Some((held(place.client), std::cmp::Reverse(since), index))
        });
    match waiting.max() {
        Some((_, _, index)) => {
            open.remove(index).end.cancel();
            true
        }
        None => false,
    }
}

/// Addresses that one client usually has together count as one: of IPv6 a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Places taken one after the other.
    async fn taken(places: &Arc<Places>, client: &str, count: usize) -> Vec<Seat> {
        let mut seats = Vec::new();
        for _ in 0..count {
            tokio::time::advance(Duration::from_millis(1)).await;
            seats.push(places.take(address(client)).unwrap());
        }
        seats
    }

    fn displaced(seats: &[Seat]) -> Vec<usize> {
        let ended = |(index, seat): (usize, &Seat)| seat.displaced.is_cancelled().then_some(index);
        seats.iter().enumerate().filter_map(ended).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_takes_only_its_own_places_from_others() {
        let places = Arc::new(Places::new(8, 4));
        let other = taken(&places, "192.0.2.1", 2).await;
        let greedy = taken(&places, "192.0.2.9", 20).await;
        assert_eq!(displaced(&greedy), (0..16).collect::<Vec<_>>(), "the oldest of its own");
        assert!(displaced(&other).is_empty());
        drop(greedy);
        assert_eq!(places.lock().len(), 2, "places are given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_the_place_of_who_holds_most_and_waits_longest() {
        let places = Arc::new(Places::new(6, 4));
        let (one, many) = (taken(&places, "192.0.2.1", 2).await, taken(&places, "::1", 4).await);
        many[0].turn.server();
        many[0].turn.client();
        let newcomers = taken(&places, "192.0.2.7", 1).await;
        assert_eq!((displaced(&one), displaced(&many)), (vec![], vec![1]));
        // Many addresses with one connection each lock no one out either.
        let crowd = places.clone();
        for last in 10..200 {
            let seat = taken(&crowd, &format!("198.51.100.{last}"), 1).await;
            assert!(displaced(&seat).is_empty());
            std::mem::forget(seat);
        }
        assert_eq!(displaced(&newcomers), [0]);
        assert_eq!(places.lock().len(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_answered_is_not_displaced() {
        let places = Arc::new(Places::new(4, 2));
        let mut busy = Vec::new();
        for _ in 0..3 {
            busy.extend(taken(&places, "192.0.2.1", 1).await);
            for seat in &busy {
                seat.turn.server();
            }
        }
        let more = taken(&places, "192.0.2.1", 5).await;
        assert_eq!((displaced(&busy), displaced(&more)), (vec![], vec![0, 1, 2, 3]));
        more[4].turn.server();
        assert!(places.take(address("192.0.2.2")).is_none(), "all four are being answered");
        busy[1].turn.client();
        assert!(places.take(address("192.0.2.2")).is_some());
        assert_eq!(displaced(&busy), [1]);
    }

    #[test]
    fn addresses_that_one_client_can_choose_from_are_one() {
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "::2", false),
        ] {
            assert_eq!(network(address(a)) == network(address(b)), same, "{a} {b}");
        }
    }
}

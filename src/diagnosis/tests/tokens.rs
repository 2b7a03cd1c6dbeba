//! Clocks, keys and lifetimes.

use std::time::Duration;

use super::super::assess_after;
use super::causes::{THREE, TWO, answer_with, clock, family, heal, other_key};
use super::tables::assess;
use super::{everybody_refuses, expect, harbor, lifetime, lines, unsampled};
use crate::model::sample::{
    KEY, OTHER_KEY, backend, changed, fail, refuse, set_cell, sign_with, started,
};
use crate::model::{
    Answer, CellResult, ClockInterval, ClockSource, Confidence, Earlier, Failure, Family,
    FindingName, HeldToken, KeyCensus, KeyCount, KeyId, KeySeen, OpenFinding, Outcome, Reason,
    Refusal, Severity, Skipped, Step, Subject,
};

const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

/// What Harbor's core answers where it cannot sign.
fn empty_500() -> Answer {
    Answer { status: 500, request_id: true, ..Answer::default() }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn time_is_blamed_only_where_clocks_and_keys_allow() {
    expect(&[
        (
            "it heals where the issuer is behind",
            |r| {
                unsampled(r);
                clock(r, "b", 2.0);
                heal(r, "a", "b");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "it heals with a key of another",
            |r| {
                unsampled(r);
                clock(r, "c", -2.0);
                heal(r, "a", "c");
                r.matrix.cells[2].key = Some(KeyId::from_wire(OTHER_KEY));
            },
            "clock-skew-nbf warning suspected [c]",
        ),
        (
            "a difference that is forgiven",
            |r| {
                unsampled(r);
                harbor(r, 11);
                clock(r, "c", -30.0);
                refuse(r, "a", "c");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "a wide clock is not a wrong one",
            |r| {
                unsampled(r);
                clock(r, "c", -3.0);
                let b = backend("b");
                for reading in r.clocks.iter_mut().filter(|reading| reading.backend == b) {
                    reading.interval = ClockInterval::between(-5.0, 5.0);
                }
                heal(r, "b", "c");
            },
            "clock-skew-nbf warning suspected [c]",
        ),
        (
            "a node whose token server has another clock refuses its own tokens",
            |r| {
                unsampled(r);
                for name in THREE {
                    family(r, name, Family::Distribution2);
                }
                for reading in &mut r.clocks {
                    if reading.backend == backend("b") && reading.source == ClockSource::Iat {
                        reading.interval = ClockInterval::between(89.5, 90.5);
                    }
                }
                for verifier in THREE {
                    refuse(r, "b", verifier);
                }
                fail(r, "b", Step::Access, Reason::Unauthorized);
            },
            "clock-skew-nbf warning proved [b]",
        ),
        (
            "expired and healing do not go together",
            |r| {
                unsampled(r);
                clock(r, "a", -1_900.0);
                heal(r, "a", "b");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "expired only beyond what is forgiven",
            |r| {
                unsampled(r);
                harbor(r, 11);
                clock(r, "a", -1_830.0);
                refuse(r, "a", "b");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "behind by less than a token lives",
            |r| {
                unsampled(r);
                clock(r, "a", -100.0);
                refuse(r, "a", "b");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "far behind and another key: refusals tell the key, the measured clocks tell the rest",
            |r| {
                unsampled(r);
                clock(r, "a", -1_900.0);
                other_key(r, "a");
                for (issuer, verifier) in [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")] {
                    refuse(r, issuer, verifier);
                }
            },
            "clock-skew-nbf warning proved [a]; token-key-mismatch warning proved [a]",
        ),
        (
            "one clock by half an hour and another by seconds",
            |r| {
                unsampled(r);
                clock(r, "a", -1_900.0);
                clock(r, "c", -3.0);
                for (issuer, verifier) in [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")] {
                    refuse(r, issuer, verifier);
                }
                heal(r, "b", "c");
            },
            "clock-skew-exp warning proved [a]; clock-skew-nbf warning proved [a c]",
        ),
        (
            "short lives at one node, which is no drift besides",
            |r| lifetime(r, "b", 120),
            "token-lifetime-too-short warning proved [b]",
        ),
        (
            "a life of nothing is not read as short",
            |r| lifetime(r, "b", 0),
            "settings-differ warning proved [b]",
        ),
        (
            "all clocks alike and far off",
            |r| {
                for name in THREE {
                    clock(r, name, 20.0);
                }
            },
            "prober-clock-suspect warning suspected []",
        ),
        (
            "all clocks alike and a little off",
            |r| {
                for name in THREE {
                    clock(r, name, 2.0);
                }
            },
            "",
        ),
        (
            "tokens of an unknown server that say another time, where no answer says one",
            |r| {
                for name in THREE {
                    clock(r, name, 20.0);
                }
                r.clocks.retain(|reading| reading.source != ClockSource::Date);
                for of in &mut r.backends {
                    of.family = Family::Unknown;
                }
            },
            "",
        ),
        (
            "all clocks that are known alike, one unknown",
            |r| {
                for name in THREE {
                    clock(r, name, 20.0);
                }
                r.clocks.retain(|reading| reading.backend != backend("c"));
            },
            "",
        ),
    ]);
    let equally = changed(TWO, |r| {
        unsampled(r);
        r.clocks.clear();
        heal(r, "a", "b");
    });
    assert_eq!(lines(&assess(&equally)), ["clock-skew-nbf warning suspected [a b]"]);
    let alone = changed(&["a"], |r| clock(r, "a", 20.0));
    assert!(lines(&assess(&alone)).is_empty(), "one clock is no majority");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn keys_are_blamed_only_where_they_differ_and_nothing_else_explains() {
    expect(&[
        (
            "equal keys",
            |r| {
                unsampled(r);
                refuse(r, "a", "b");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "different keys, the verifier's own token failed on the way",
            |r| {
                unsampled(r);
                other_key(r, "c");
                refuse(r, "a", "c");
                let failure =
                    Failure { phase: None, reason: Reason::Timeout, detail: "lost".to_owned() };
                set_cell(r, "c", "c", CellResult::Failed { failure, answer: None });
            },
            "token-key-mismatch warning suspected [c]; unexplained-loss warning suspected []",
        ),
        (
            "different keys, not asked again",
            |r| {
                unsampled(r);
                other_key(r, "c");
                let answer = Answer { status: 401, ..Answer::default() };
                let once = Refusal { answer, tries: 1, healed_after: None, refused_until: 0.0 };
                set_cell(r, "a", "c", CellResult::Refused(once));
            },
            "token-key-mismatch warning suspected [c]",
        ),
        (
            "different key ids and nothing tried",
            |r| {
                unsampled(r);
                other_key(r, "c");
                for cell in &mut r.matrix.cells {
                    cell.result = CellResult::Skipped { reason: Skipped::NoToken };
                }
            },
            "token-key-mismatch warning suspected [c]",
        ),
        (
            "two tokens refused, a third accepted",
            |r| {
                unsampled(r);
                refuse(r, "a", "b");
                refuse(r, "b", "b");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "all foreign tokens refused, its own not tried",
            |r| {
                unsampled(r);
                refuse(r, "a", "b");
                refuse(r, "c", "b");
                set_cell(r, "b", "b", CellResult::Skipped { reason: Skipped::NoToken });
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "the right kind of key id, refused all the same",
            |r| {
                unsampled(r);
                for name in THREE {
                    family(r, name, Family::Distribution3);
                    sign_with(r, name, THUMBPRINT);
                    refuse(r, name, "b");
                }
                for cell in &mut r.matrix.cells {
                    cell.key = Some(KeyId::from_wire(THUMBPRINT));
                }
            },
            "signing-key-unusable warning suspected [b]",
        ),
        (
            "the wrong kind of key id everywhere",
            |r| {
                unsampled(r);
                for name in THREE {
                    family(r, name, Family::Distribution3);
                }
                everybody_refuses(r);
            },
            "key-id-format-mismatch critical suspected []",
        ),
        (
            "everybody refuses everybody",
            |r| {
                unsampled(r);
                everybody_refuses(r);
            },
            "issuer-audience-mismatch critical suspected []",
        ),
        (
            "two of three refuse everybody",
            |r| {
                unsampled(r);
                for verifier in ["a", "b"] {
                    for issuer in THREE {
                        refuse(r, issuer, verifier);
                    }
                }
            },
            "signing-key-unusable warning suspected [a b]",
        ),
        (
            "nobody takes the tokens of one whose token server's clock is ahead",
            |r| {
                let b = backend("b");
                for reading in &mut r.clocks {
                    if reading.backend == b && reading.source == ClockSource::Iat {
                        reading.interval = ClockInterval::between(89.9, 90.1);
                    }
                }
                for name in THREE {
                    family(r, name, Family::Distribution2);
                }
                for verifier in ["a", "b", "c", "lb"] {
                    refuse(r, "b", verifier);
                }
                fail(r, "b", Step::Access, Reason::Unauthorized);
            },
            "clock-skew-nbf warning proved [b]",
        ),
        (
            "nobody takes the tokens of one, itself included",
            |r| {
                unsampled(r);
                for verifier in THREE {
                    refuse(r, "c", verifier);
                }
            },
            "issuer-audience-mismatch warning suspected [c]",
        ),
        (
            "somebody takes the tokens of one",
            |r| {
                unsampled(r);
                refuse(r, "c", "b");
                refuse(r, "c", "c");
            },
            "unexplained-refusal warning suspected []",
        ),
        (
            "another service at one node, and a refusal between the others",
            |r| {
                unsampled(r);
                if let Outcome::Measured(challenge) = &mut r.flows[2].challenge {
                    challenge.service = Some("another".to_owned());
                }
                for (issuer, verifier) in
                    [("a", "c"), ("b", "c"), ("c", "a"), ("c", "b"), ("a", "b")]
                {
                    refuse(r, issuer, verifier);
                }
            },
            "issuer-audience-mismatch warning proved [c]; unexplained-refusal warning suspected []",
        ),
        (
            "no key at one node, another key at a second",
            |r| {
                unsampled(r);
                other_key(r, "c");
                fail(r, "b", Step::Token, Reason::ServerError);
                answer_with(r, "b", Step::Token, &empty_500());
                for issuer in THREE {
                    refuse(r, issuer, "b");
                }
                refuse(r, "a", "c");
                refuse(r, "c", "a");
            },
            "signing-key-unusable warning proved [b]; token-key-mismatch warning proved [a c]",
        ),
        (
            "no key to sign with and yet foreign tokens accepted",
            |r| {
                fail(r, "b", Step::Token, Reason::ServerError);
                answer_with(r, "b", Step::Token, &empty_500());
            },
            "signing-key-unusable warning suspected [b]",
        ),
        (
            "an empty error that is not by Harbor's core",
            |r| {
                fail(r, "b", Step::Token, Reason::ServerError);
                answer_with(r, "b", Step::Token, &Answer { request_id: false, ..empty_500() });
            },
            "server-errors warning proved [b]",
        ),
        (
            "an error with a body is the server's",
            |r| {
                fail(r, "b", Step::Token, Reason::ServerError);
                let answer = Answer { status: 500, body_bytes: 64, ..Answer::default() };
                answer_with(r, "b", Step::Token, &answer);
            },
            "server-errors warning proved [b]",
        ),
    ]);
}

#[test]
fn a_change_of_keys_needs_an_old_token_that_should_live_or_a_memory() {
    let aged = |key: &str, accepted: bool, left_seconds: f64| HeldToken {
        backend: backend("b"),
        key: Some(KeyId::from_wire(key)),
        age_seconds: 600.0,
        left_seconds,
        accepted: Outcome::Measured(accepted),
    };
    let proved = "token-key-rotation-window warning proved [b]";
    for (what, aged, expected) in [
        ("refused before its time", aged(OTHER_KEY, false, 900.0), proved),
        ("expired", aged(OTHER_KEY, false, -1.0), ""),
        (
            "of the key that still signs",
            aged(KEY, false, 900.0),
            "unexplained-refusal warning suspected [b]",
        ),
        ("accepted", aged(OTHER_KEY, true, 900.0), ""),
    ] {
        let round = changed(THREE, |r| r.held_tokens.push(aged));
        assert_eq!(lines(&assess(&round)).join("; "), expected, "{what}");
    }

    // The old key is one of several behind the address, which is worse; that another
    // node has another and no token is refused is no more.
    let of_replicas = changed(THREE, |r| {
        r.held_tokens.push(aged(OTHER_KEY, false, 900.0));
        let keys = vec![KeyCount { key: KeyId::from_wire(OTHER_KEY), tokens: 2 }];
        r.key_census.push(KeyCensus { backend: backend("b"), keys });
    });
    assert_eq!(lines(&assess(&of_replicas)), ["token-key-mismatch warning proved [b]"]);
    let of_another = changed(THREE, |r| {
        r.held_tokens.push(aged(OTHER_KEY, false, 900.0));
        other_key(r, "c");
    });
    assert_eq!(lines(&assess(&of_another)), [proved]);

    let seen = |ago: u64, previous: &str| KeySeen {
        key: KeyId::from_wire(KEY),
        since: started() - Duration::from_secs(ago),
        previous: Some(KeyId::from_wire(previous)),
    };
    let severity = Severity::Warning;
    let open = OpenFinding { since: started(), confidence: Confidence::Proved, severity };
    let subject =
        Subject { finding: FindingName::TokenKeyRotationWindow, backend: Some(backend("b")) };
    // One key signs everywhere, and no token from before was refused: it is over.
    let suspected = "token-key-rotation-window info suspected [b]";
    let over = "token-key-rotation-window info proved [b]";
    for (what, seen, open, expected) in [
        ("changed a minute ago", seen(60, OTHER_KEY), None, suspected),
        ("changed a minute ago, and proved before", seen(60, OTHER_KEY), Some(open), over),
        ("changed longer ago than a token lives", seen(2_000, OTHER_KEY), None, ""),
        ("never changed", seen(60, KEY), None, ""),
    ] {
        let earlier = Earlier {
            keys: [(backend("b"), seen)].into(),
            open: open.map(|open| (subject.clone(), open)).into_iter().collect(),
            ..Earlier::default()
        };
        let found = lines(&assess_after(&changed(THREE, |_| {}), &earlier));
        assert_eq!(found.join("; "), expected, "{what}");
    }

    // Every node has a new key: what the round before proved of all of them holds, and what it
    // proved of one holds for that one.
    let everywhere = Subject { finding: subject.finding, backend: None };
    for (subject, expected) in [
        (everywhere, "token-key-rotation-window info proved []"),
        (subject, "token-key-rotation-window info suspected []"),
    ] {
        let earlier = Earlier {
            keys: THREE.iter().map(|name| (backend(name), seen(60, OTHER_KEY))).collect(),
            open: [(subject, open)].into(),
            ..Earlier::default()
        };
        assert_eq!(lines(&assess_after(&changed(THREE, |_| {}), &earlier)), [expected]);
    }
}

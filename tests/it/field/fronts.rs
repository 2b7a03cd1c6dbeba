//! What stands in front of registries, and token endpoints that know one way to ask. Each fault is
//! named once, with no node that is well; each has its healthy twin.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::{Asked, Expected, FINE, Kind, Reply, SOUND, Site, challenge, expect, response};

const POST: &[&str] = &["--samples=4", "--token-method=post"];
const GET: &[&str] = &["--samples=4"];

/// What a front does with a request: lets it pass, answers, or closes the connection.
type Front = fn(&Asked) -> Option<Option<Reply>>;

/// Answers in place of what is behind where something holds.
fn answers(holds: bool, reply: Reply) -> Option<Option<Reply>> {
    holds.then_some(Some(reply))
}

/// One finding and no other, at no node.
fn expect_at_no_node(what: &str, kind: Kind, more: &[&str], expected: Expected) -> String {
    let all = expect(what, kind, more, expected);
    let headline = all.split("\n\n").next().unwrap_or_default();
    assert!(!headline.contains(';') && !headline.contains(" at "), "{what}: {all}");
    all
}

fn of(front: Front) -> Kind {
    Kind { front, ..SOUND }
}

fn is_token(asked: &Asked, method: &str) -> bool {
    asked.path == "/token" && asked.method == method
}

fn denied() -> Reply {
    Reply::json(403, &json!({ "errors": [{ "code": "DENIED", "message": "no" }] }))
}

fn page() -> Reply {
    Reply::page(200, "<html>log in</html>")
}

#[test]
fn a_token_endpoint_that_knows_one_method_is_named_by_the_clients_that_get_none() {
    let post: &[(&str, Front)] = &[
        ("403 to POST", |asked| answers(is_token(asked, "POST"), denied())),
        ("a page to POST", |asked| answers(is_token(asked, "POST"), page())),
        ("403 with a page to POST", |asked| {
            answers(is_token(asked, "POST"), Reply::page(403, "<html>no</html>"))
        }),
        ("nothing to POST", |asked| {
            answers(is_token(asked, "POST"), Reply::text(200, "text/plain", ""))
        }),
    ];
    for (what, front) in post {
        let said = (2, "realm-wrong-endpoint");
        let all = expect_at_no_node(what, of(*front), POST, said);
        let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains("containerd and Kubernetes nodes ask by POST first"),
            "{what}: {all}"
        );
        let all = expect_at_no_node(what, of(*front), GET, said);
        assert!(all.contains("docker: none of "), "{what}: {all}");
    }
    let get: &[(&str, Front)] = &[
        ("404 to GET", |asked| answers(is_token(asked, "GET"), Reply::json(404, &json!({})))),
        ("403 to GET", |asked| answers(is_token(asked, "GET"), denied())),
        ("a page to GET", |asked| answers(is_token(asked, "GET"), page())),
    ];
    for (what, front) in get {
        let all = expect_at_no_node(what, of(*front), GET, (2, "realm-wrong-endpoint"));
        assert!(all.contains("skopeo"), "{what}: {all}");
        expect(what, of(*front), POST, FINE);
    }
    let in_front = |asked: &Asked| answers(asked.at_balancer && is_token(asked, "GET"), page());
    expect_at_no_node("in front only", of(in_front), GET, (2, "lb-misroutes-api-path"));
}

#[test]
fn one_refused_post_is_not_taken_for_an_endpoint_that_knows_none() {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let front: Front = |asked| {
        let first = is_token(asked, "POST") && !REFUSED.swap(true, Ordering::Relaxed);
        answers(first, denied())
    };
    let (ended, _, all) = Site::start(of(front)).check(GET);
    assert!(REFUSED.load(Ordering::Relaxed), "a client flow asks by POST");
    assert_ne!(ended, Some(0), "{all}");
    assert!(!all.contains("realm-wrong-endpoint"), "{all}");
}

#[test]
fn flows_as_docker_makes_them_name_the_account_and_no_other_request_does() {
    static NAMED: AtomicU64 = AtomicU64::new(0);
    static NAMED_ELSEWHERE: AtomicU64 = AtomicU64::new(0);
    let front: Front = |asked| {
        let named = asked.query.split('&').any(|pair| pair == "account=alice");
        if named && is_token(asked, "GET") && asked.at_balancer {
            NAMED.fetch_add(1, Ordering::Relaxed);
        } else if asked.query.contains("account=") {
            NAMED_ELSEWHERE.fetch_add(1, Ordering::Relaxed);
        }
        None
    };
    expect("sound", of(front), GET, FINE);
    assert!(NAMED.load(Ordering::Relaxed) > 0);
    assert_eq!(NAMED_ELSEWHERE.load(Ordering::Relaxed), 0);
}

#[test]
fn where_post_is_not_known_get_is_asked_as_containerd_does() {
    let fronts: &[(&str, Front)] = &[
        ("known", |_| None),
        ("404", |asked| answers(is_token(asked, "POST"), Reply::page(404, "<html>no</html>"))),
        ("405", |asked| answers(is_token(asked, "POST"), Reply::text(405, "text/plain", "no"))),
        ("501", |asked| answers(is_token(asked, "POST"), Reply::page(501, "<html>no</html>"))),
        ("400", |asked| answers(is_token(asked, "POST"), Reply::json(400, &json!({})))),
        ("401", |asked| answers(is_token(asked, "POST"), Reply::json(401, &json!({})))),
    ];
    for (what, front) in fronts {
        expect(what, of(*front), POST, FINE);
    }
}

#[test]
fn what_answers_in_front_in_place_of_the_registry_is_named_once() {
    const LOGIN: &str = "https://login.invalid/authorize?state=secret";
    let fronts: &[(&str, Front)] = &[
        ("421 to /v2/", |it| {
            answers(it.at_balancer && it.path == "/v2/", Reply::page(421, "<html>421</html>"))
        }),
        ("421 to /token", |it| {
            answers(it.at_balancer && it.path == "/token", Reply::page(421, "<html>421</html>"))
        }),
        ("a login page for /v2/", |it| {
            let moved = Reply::page(302, "").with("Location", LOGIN);
            answers(it.at_balancer && it.path.starts_with("/v2/"), moved)
        }),
        ("a login page for /token", |it| {
            let moved = Reply::page(302, "").with("Location", LOGIN);
            answers(it.at_balancer && it.path == "/token", moved)
        }),
        ("a slash that is removed", |it| {
            let to = if it.path == "/v2/" { "/v2" } else { "/v2/" };
            let moved = Reply::page(301, "").with("Location", to);
            answers(it.at_balancer && it.path.trim_end_matches('/') == "/v2", moved)
        }),
        ("/v2/ of its own", |it| {
            answers(it.at_balancer && it.path == "/v2/", Reply::json(200, &json!({})))
        }),
        ("Basic of its own", |it| {
            let asks = Reply::page(401, "<html>401 Authorization Required</html>");
            let asks = asks.with("WWW-Authenticate", "Basic realm=\"Restricted\"");
            answers(it.at_balancer && !it.authorization.starts_with("Basic"), asks)
        }),
        ("401 without a challenge", |it| {
            let page = Reply::page(401, "<html>401 Authorization Required</html>");
            answers(it.at_balancer && it.path == "/v2/", page)
        }),
    ];
    for (what, front) in fronts {
        let all = expect_at_no_node(what, of(*front), GET, (2, "lb-misroutes-api-path"));
        assert!(!all.contains("state=secret"), "{what}: {all}");
    }
    expect("nothing in front", SOUND, GET, FINE);
}

#[test]
fn a_challenge_that_is_renamed_or_replaced_in_front_is_named() {
    let fronts: &[(&str, Front)] = &[
        ("renamed", |it| {
            let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] });
            let renamed = Reply::json(401, &refusal)
                .with("x-amzn-Remapped-www-authenticate", "Bearer realm=\"http://x/token\"");
            answers(it.at_balancer && it.authorization.is_empty() && it.path != "/token", renamed)
        }),
        ("replaced", |it| {
            let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] });
            let other = Reply::json(401, &refusal).with("WWW-Authenticate", "Negotiate");
            answers(it.at_balancer && it.authorization.is_empty() && it.path != "/token", other)
        }),
    ];
    for (what, front) in fronts {
        let all = expect_at_no_node(what, of(*front), GET, (2, "settings-differ"));
        assert!(all.contains("WWW-Authenticate"), "{what}: {all}");
    }
}

#[test]
fn two_logins_in_a_row_are_named_and_the_password_is_not_blamed() {
    let kind = of(|it| {
        let asks = Reply::page(401, "<html>401 Authorization Required</html>");
        let asks = asks.with("WWW-Authenticate", "Basic realm=\"Restricted\"");
        answers(!it.authorization.starts_with("Basic"), asks)
    });
    let all = expect_at_no_node("Basic before tokens", kind, GET, (2, "request-filtered"));
    assert!(all.contains("one header"), "{all}");
}

#[test]
fn a_password_that_is_refused_where_there_are_no_tokens_is_the_probers_own() {
    let basic = |_: &str, _: &str| vec!["Basic realm=\"Registry Realm\"".to_owned()];
    let kind = |takes| Kind { challenge: basic, basic: takes, ..SOUND };
    expect_at_no_node("refused", kind(false), GET, (3, "credential-refused"));
    expect("taken", kind(true), GET, (0, "3 of 3 routes work"));
}

#[test]
fn a_cache_in_front_that_does_not_look_at_authorization_is_named() {
    let refusal: Front = |it| {
        let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] });
        let base = "http://127.0.0.1/token";
        let mut reply = Reply::json(401, &refusal).with("Age", "9").with("X-Cache", "HIT");
        for line in challenge(base, "") {
            reply = reply.with("Www-Authenticate", &line);
        }
        answers(it.at_balancer && it.authorization.starts_with("Bearer"), reply)
    };
    let all = expect_at_no_node("kept refusals", of(refusal), GET, (2, "lb-misroutes-api-path"));
    assert!(all.contains("A cache in front"), "{all}");
    let open: Front = |it| {
        let reply = Reply::json(200, &json!({})).with("Age", "9");
        let later = it.at_balancer && it.number > 8 && it.path == "/v2/";
        answers(later, reply)
    };
    let all = expect_at_no_node("kept successes", of(open), GET, (2, "lb-misroutes-api-path"));
    assert!(all.contains("A cache in front"), "{all}");
    let tokens = Kind { response: |it| response(it).with("Age", "9"), ..SOUND };
    let all = expect("kept tokens", tokens, GET, (1, "lb-misroutes-api-path"));
    assert!(all.contains("the token of another user"), "{all}");
    let fresh = Kind { response: |it| response(it).with("X-Cache", "MISS"), ..SOUND };
    expect("fresh tokens", fresh, GET, FINE);
}

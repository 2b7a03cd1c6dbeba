//! Many members of each kind, judged side by side: a program that knows the one example of a kind is
//! right about few of these. Each table holds faults and, next to them, what is sound.

use super::*;

const SAMPLES: Vec<&str> = Vec::new();

fn fine(what: &str, kind: Kind) -> Case {
    (what.to_owned(), kind, SAMPLES, FINE)
}

fn case(what: &str, kind: Kind, said: Expected) -> Case {
    (what.to_owned(), kind, SAMPLES, said)
}

const LOOKS_KNOWN: Kind = Kind { distribution: true, ..SOUND };

fn claims(scope: &str, change: fn(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "fake", "sub": "alice", "aud": "fake", "iat": now(), "nbf": now() - 5,
        "exp": now() + 1800, "access": access(scope),
    });
    change(&mut claims);
    claims
}

/// A token of distribution's form with other claims.
macro_rules! token_with {
    ($change:expr) => {
        |number, scope| jwt(&json!({ "alg": "ES256" }), &claims(scope, $change), number)
    };
}

/// What gives a token, by its number and the scope.
type Issue = fn(u64, &str) -> String;

/// What clients never read, by what it is.
const ODD_TOKENS: &[(&str, Issue)] = &[
    ("no access", token_with!(|it| it["access"] = Value::Null)),
    ("access as a text", token_with!(|it| it["access"] = json!("repository:probe/canary:pull"))),
    (
        "capitals",
        token_with!(|it| {
            it["access"] = json!([{ "Type": "repository", "Name": "probe/canary", "Actions": [] }]);
        }),
    ),
    ("repository(plugin)", token_with!(|it| it["access"][0]["type"] = "repository(plugin)".into())),
    ("a host", token_with!(|it| it["access"][0]["name"] = "hub.test/probe/canary".into())),
    ("another audience", token_with!(|it| it["aud"] = "other".into())),
    ("a number as audience", token_with!(|it| it["aud"] = 7.into())),
    ("no audience", token_with!(|it| it["aud"] = json!([]))),
    ("a number as subject", token_with!(|it| it["sub"] = 7.into())),
    ("no life", token_with!(|it| it["exp"] = it["iat"].clone())),
    ("long over", token_with!(|it| it["exp"] = 1_000.into())),
    ("from tomorrow on", token_with!(|it| it["nbf"] = (now() + 86_400).into())),
];

#[test]
fn a_token_of_a_registry_that_only_looks_known_is_judged_by_its_verifier() {
    let of = |(what, token): &(&str, Issue)| fine(what, Kind { token: *token, ..LOOKS_KNOWN });
    expect_each(ODD_TOKENS.iter().map(of).collect());
    // Where the verifier refuses it, what the token says is the cause that is named.
    let token: Issue = token_with!(|it| it["aud"] = "other".into());
    let refused = Kind { token, accepts: |_| false, ..LOOKS_KNOWN };
    let token: Issue = token_with!(|it| it["access"] = Value::Null);
    let accepts = |asked: &Asked| asked.path == "/v2/";
    let ungranted = Kind { token, accepts, ..LOOKS_KNOWN };
    let site = Site::start(refused);
    let (code, _, all) = site.check(&["--samples=4"]);
    assert!(code == Some(2) && all.contains("the token's aud is"), "{all}");
    expect("ungranted", ungranted, &["--samples=4"], (3, "repository-access-denied"));
}

#[test]
fn many_keys_that_all_accept_are_neither_a_mismatch_nor_an_unknown_backend() {
    let each = |number, scope: &str| {
        let header = json!({ "alg": "RS256", "kid": format!("key{number}") });
        jwt(&header, &claims(scope, |_| {}), number)
    };
    let few = |number: u64, scope: &str| {
        let header = json!({ "alg": "RS256", "kid": format!("key{}", number % 3) });
        jwt(&header, &claims(scope, |_| {}), number)
    };
    expect_each(vec![
        fine("a key for each token", Kind { token: each, ..LOOKS_KNOWN }),
        fine("three keys", Kind { token: few, ..LOOKS_KNOWN }),
    ]);
}

#[test]
fn a_token_response_is_read_as_the_most_lenient_client_reads_it() {
    let of = |what: &str, response| fine(what, Kind { response, ..SOUND });
    expect_each(vec![
        of("201", |it| Reply::json(201, &json!({ "token": it }))),
        of("a name twice", |it| {
            Reply::text(200, "application/json", &format!(r#"{{"token":"x","token":"{it}"}}"#))
        }),
        of("docker's choice", |it| {
            Reply::json(200, &json!({ "access_token": it, "token": "another" }))
        }),
        of("a list as life", |it| Reply::json(200, &json!({ "token": it, "expires_in": [] }))),
        of("no issue", |it| Reply::json(200, &json!({ "token": it, "issued_at": "yesterday" }))),
    ]);
}

#[test]
fn what_a_registry_answers_to_a_good_token_may_be_called_a_page() {
    let empty: Front = |it| {
        let good = it.authorization.starts_with("Bearer") && it.path == "/v2/";
        good.then(|| Some(Reply::page(200, "")))
    };
    let page: Front = |it| {
        let good = it.authorization.starts_with("Bearer") && it.path == "/v2/";
        good.then(|| Some(Reply::page(200, "<html>it works</html>")))
    };
    expect_each(vec![
        fine("nothing", Kind { front: empty, ..SOUND }),
        fine("a page with the header of registries", Kind { front: page, ..LOOKS_KNOWN }),
        case("a page without it", Kind { front: page, ..SOUND }, (2, "not-a-registry")),
    ]);
}

#[test]
fn a_challenge_may_have_bad_parameters_and_an_empty_service() {
    let of = |what: &str, challenge| fine(what, Kind { challenge, ..LOOKS_KNOWN });
    expect_each(vec![
        of("bad ones before", |b, _| {
            vec![format!(r#"Bearer =x,foo,"bar",realm="{b}/token",service="fake""#)]
        }),
        of("bad ones between", |b, _| {
            vec![format!(r#"Bearer realm="{b}/token",@@@,foo,service="fake",x=@"y"#)]
        }),
        of("an empty service", |b, _| vec![format!(r#"Bearer realm="{b}/token",service="""#)]),
        of("NTLM before", |b, _| vec![format!(r#"NTLM, Bearer realm="{b}/token",service="fake""#)]),
    ]);
}

type Front = fn(&Asked) -> Option<Option<Reply>>;

fn filter_page() -> Reply {
    Reply::page(403, "<html><h1>403 Forbidden</h1></html>")
}

#[test]
fn a_filter_before_the_token_endpoint_is_no_refused_password() {
    let in_front: Front = |it| (it.at_balancer && it.path == "/token").then(|| Some(filter_page()));
    let everywhere: Front = |it| (it.path == "/token").then(|| Some(filter_page()));
    let text: Front = |it| {
        (it.at_balancer && it.path == "/token")
            .then(|| Some(Reply::text(403, "text/plain", "Forbidden")))
    };
    let f5: Front = |it| {
        let page = "<html>The requested URL was rejected. Please consult with your administrator.";
        (it.at_balancer && it.path == "/token").then(|| Some(Reply::page(200, page)))
    };
    let at_first: Front = |it| {
        let refusal = json!({ "message": "Forbidden" });
        (it.at_balancer && it.path == "/v2/").then(|| Some(Reply::json(403, &refusal)))
    };
    let of = |what: &str, front| {
        let kind = Kind { front, ..LOOKS_KNOWN };
        (what.to_owned(), kind, vec!["-v"], (3, "request-filtered"))
    };
    let all = expect_each(vec![
        of("in front", in_front),
        of("everywhere", everywhere),
        of("in plain text", text),
        of("as 200", f5),
        of("JSON with the header of registries", at_first),
    ]);
    for said in all {
        assert!(said.contains("--user-agent"), "{said}");
    }
}

#[test]
fn a_large_header_may_be_called_a_large_body() {
    let front: Front = |it| {
        let large = it.authorization.len() > 200;
        large.then(|| Some(Reply::page(413, "<h1>413 Request Entity Too Large</h1>")))
    };
    let short = |number, _: &str| format!("{number:040}");
    expect_each(vec![
        case("413", Kind { front, ..LOOKS_KNOWN }, (2, "header-size-limited")),
        fine("a short token", Kind { front, token: short, ..LOOKS_KNOWN }),
    ]);
}

#[test]
fn a_balancer_that_answers_itself_is_one_finding_whatever_it_answers_elsewhere() {
    let basic: Front = |it| {
        let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] });
        let asks = Reply::json(401, &refusal).with("WWW-Authenticate", "Basic realm=\"x\"");
        (it.at_balancer && !it.authorization.starts_with("Basic")).then_some(Some(asks))
    };
    let open: Front = |it| it.at_balancer.then(|| Some(Reply::json(200, &json!({}))));
    let all = expect_each(vec![
        case("Basic in JSON", Kind { front: basic, ..LOOKS_KNOWN }, (2, "settings-differ")),
        case("200", Kind { front: open, ..LOOKS_KNOWN }, (2, "lb-misroutes-api-path")),
    ]);
    assert!(all[0].contains("asks for Basic authentication"), "{}", all[0]);
}

#[test]
fn one_odd_node_is_named_with_what_it_asks_for() {
    let basic: fn(&str, &str) -> Vec<String> = |_, _| vec!["Basic realm=\"x\"".to_owned()];
    // Only the node of the first address is odd.
    let front: Front = |it| {
        let asks = Reply::json(401, &json!({})).with("WWW-Authenticate", "Basic realm=\"x\"");
        (it.node == Some(0)).then_some(Some(asks))
    };
    let open: Front = |it| (it.node == Some(0)).then(|| Some(Reply::json(200, &json!({}))));
    let all = expect_each(vec![
        case("Basic", Kind { front, ..LOOKS_KNOWN }, (1, "settings-differ at a")),
        case("open", Kind { front: open, ..LOOKS_KNOWN }, (1, "settings-differ at a")),
        case(
            "no route with tokens",
            Kind { challenge: |_, _| vec!["Negotiate".to_owned()], ..LOOKS_KNOWN },
            (2, "settings-differ"),
        ),
        case(
            "Basic on every route",
            Kind { challenge: basic, basic: true, ..LOOKS_KNOWN },
            (0, "3 of 3 routes work"),
        ),
    ]);
    assert!(all[0].contains("a asks for Basic authentication, and b asks for a token"), "{all:?}");
    assert!(all[1].contains("a asks for nothing, and b asks for a token"), "{all:?}");
    assert!(all[2].contains("`Negotiate`"), "{}", all[2]);
}

#[test]
fn a_realm_that_reads_as_a_url_may_be_of_no_use_all_the_same() {
    let said = (2, "realm-wrong-endpoint");
    let of = |what: &str, challenge| case(what, Kind { challenge, ..LOOKS_KNOWN }, said);
    let empty_at_a: Front = |it| {
        let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] });
        let bad = Reply::json(401, &refusal).with("WWW-Authenticate", "Bearer realm=\"\"");
        (it.node == Some(0) && it.authorization.is_empty()).then_some(Some(bad))
    };
    let all = expect_each(vec![
        of("no host", |_, _| vec![r#"Bearer realm="http:///token""#.to_owned()]),
        of("a variable", |_, _| vec![r#"Bearer realm="https://$host/token""#.to_owned()]),
        of("without end", |b, _| vec![format!(r#"Bearer realm="{b}/{}""#, "x".repeat(5_000))]),
        case("at one node", Kind { front: empty_at_a, ..LOOKS_KNOWN }, (1, "endpoint at a")),
    ]);
    assert!(all[1].contains("a variable that was not filled in"), "{}", all[1]);
}

#[test]
fn a_token_endpoint_that_gives_something_else_is_named_by_its_status() {
    fn in_place(asked: &Asked, reply: Reply) -> Option<Option<Reply>> {
        (asked.path == "/token").then_some(Some(reply))
    }
    let fronts: &[(&str, Front)] = &[
        ("answers 204 in place", |it| in_place(it, Reply::text(204, "text/plain", ""))),
        ("answers 400 in place", |it| in_place(it, Reply::json(400, &json!({ "error": "x" })))),
        ("answers 404 in place", |it| {
            in_place(it, Reply::json(404, &json!({ "errors": [{ "code": "NOT_FOUND" }] })))
        }),
        ("answers 405 in place", |it| in_place(it, Reply::text(405, "text/plain", "no"))),
        ("answers 200 without", |it| {
            in_place(it, Reply::text(200, "application/json", "\u{feff}{\"token\":\"x\"}"))
        }),
    ];
    let of = |(words, front): &(&str, Front)| {
        case(words, Kind { front: *front, ..LOOKS_KNOWN }, (2, "realm-wrong-endpoint"))
    };
    let all = expect_each(fronts.iter().map(of).collect());
    for ((words, _), all) in fronts.iter().zip(all) {
        assert!(all.contains(words), "{words}: {all}");
    }
    let login: Front = |it| {
        let moved = Reply::page(302, "").with("Location", "https://login.invalid/?state=secret");
        in_place(it, moved)
    };
    let empty_500: Front = |it| in_place(it, Reply::text(500, "text/plain", ""));
    let post_moved: Front = |it| {
        let moved = Reply::page(302, "").with("Location", "https://login.invalid/");
        (it.path == "/token" && it.method == "POST").then_some(Some(moved))
    };
    let all = expect_each(vec![
        case("a login page", Kind { front: login, ..LOOKS_KNOWN }, (2, "not-a-registry")),
        case("no key of Harbor", Kind { front: empty_500, ..LOOKS_KNOWN }, (2, "server-errors")),
        case("POST", Kind { front: post_moved, ..LOOKS_KNOWN }, (2, "realm-wrong-endpoint")),
    ]);
    assert!(!all[0].contains("state=secret"), "{}", all[0]);
}

#[test]
fn what_no_rule_knows_gets_no_name_that_claims_too_much() {
    let refuses: Front = |it| {
        let refusal = json!({ "errors": [{ "code": "UNAUTHORIZED" }] });
        (it.node == Some(1) && it.path == "/token").then(|| Some(Reply::json(401, &refusal)))
    };
    let denies: Front = |it| {
        let refusal = json!({ "errors": [{ "code": "DENIED" }] });
        (it.node == Some(1) && it.path == "/token").then(|| Some(Reply::json(403, &refusal)))
    };
    let sometimes: Front = |it| {
        let page = Reply::page(503, "<html>503 Service Unavailable</html>");
        // The first is what the balancer's own flow asks.
        (it.at_balancer && it.path == "/v2/" && it.number % 3 == 0).then_some(Some(page))
    };
    let all = expect_each(vec![
        case("401", Kind { front: refuses, ..LOOKS_KNOWN }, (1, "credential-refused at b")),
        case("403", Kind { front: denies, ..LOOKS_KNOWN }, (1, "credential-refused at b")),
        case("503", Kind { front: sometimes, ..SOUND }, (2, "server-errors")),
    ]);
    for said in &all[..2] {
        assert!(said.contains("(suspected)"), "{said}");
    }
}

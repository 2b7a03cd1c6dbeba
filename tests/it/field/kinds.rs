//! Registries as people run them, one peculiarity each: tokens, their answers, challenges, realms and
//! what stands in front. Each has its sound twin among them.

use super::*;

#[test]
fn what_a_token_says_of_itself_is_a_hint_where_its_rules_are_not_known() {
    let of = |token| Kind { token, ..SOUND };
    for (what, kind) in [
        ("control", SOUND),
        ("opaque", of(|number, _| format!("opaque{number:040}"))),
        (
            "no subject, HS256",
            of(|number, _| {
                let claims = json!({ "exp": now() + 86_400, "nbf": now(), "UserID": 7 });
                jwt(&json!({ "alg": "HS256" }), &claims, number)
            }),
        ),
        (
            "no access, another audience, EdDSA",
            of(|number, _| {
                let claims = json!({ "sub": null, "aud": ["x", "y"], "exp": now() + 60 });
                jwt(&json!({ "alg": "EdDSA", "kid": "7" }), &claims, number)
            }),
        ),
        (
            "a host before the name, in capitals",
            of(|number, _| {
                let name = "hub.test/probe/canary";
                let access = json!([{ "Type": "repository(plugin)", "Name": name }]);
                let claims = json!({ "sub": "", "access": access, "exp": now() + 60 });
                jwt(&json!({ "alg": "ES256" }), &claims, number)
            }),
        ),
    ] {
        expect(what, kind, &["--samples=4"], FINE);
    }
}

#[test]
fn the_token_response_may_have_any_form_that_clients_read() {
    let of = |response| Kind { response, ..SOUND };
    for (what, kind) in [
        ("access_token", of(|it| Reply::json(200, &json!({ "access_token": it })))),
        ("expires_in 0", of(|it| Reply::json(200, &json!({ "token": it, "expires_in": 0 })))),
        ("a string", of(|it| Reply::json(200, &json!({ "token": it, "expires_in": "300" })))),
        ("called a page", of(|it| Reply::page(200, &json!({ "token": it }).to_string()))),
    ] {
        expect(what, kind, &["--samples=4"], FINE);
    }
}

#[test]
fn a_token_endpoint_that_gives_none_is_named() {
    let of = |response| Kind { response, ..SOUND };
    for (what, kind, words) in [
        ("nothing", of(|_| Reply::text(200, "text/plain", "")), "realm-wrong-endpoint"),
        ("no token", of(|_| Reply::json(200, &json!({ "ok": true }))), "realm-wrong-endpoint"),
        ("a page", of(|_| Reply::page(200, "<html>log in</html>")), "not-a-registry"),
    ] {
        expect(what, kind, &["--samples=4"], (2, words));
    }
}

#[test]
fn a_challenge_is_read_as_clients_read_it() {
    let of = |challenge| Kind { challenge, ..SOUND };
    for (what, kind) in [
        ("bodies called pages", Kind { content_type: "text/html; charset=utf-8", ..SOUND }),
        ("blanks", of(|b, _| vec![format!("Bearer  \t realm=\"{b}/token\",service=\"fake\"")])),
        ("unquoted", of(|b, _| vec![format!("bearer realm={b}/token , service=fake")])),
        (
            "several lines",
            of(|b, path| {
                let mut lines = challenge(b, path);
                lines.insert(0, "Negotiate".to_owned());
                lines.push("Basic realm=\"x\"".to_owned());
                lines
            }),
        ),
        (
            "service on repositories only",
            of(|b, path| match path {
                "/v2/" => vec![format!(r#"Bearer realm="{b}/token""#)],
                path => challenge(b, path),
            }),
        ),
    ] {
        expect(what, kind, &["--samples=4"], FINE);
    }
}

#[test]
fn registries_without_tokens_are_measured_as_far_as_that_goes() {
    let basic = |_: &str, _: &str| vec![r#"Basic realm="Registry Realm""#.to_owned()];
    let kind = Kind { challenge: basic, basic: true, ..SOUND };
    let all = expect("Basic", kind, &["--samples=4"], (0, "3 of 3 routes work"));
    assert!(all.contains("Basic authentication"), "{all}");
    let open = Kind { front: |_| Some(Some(Reply::json(200, &json!({})))), ..SOUND };
    let all = expect("open", open, &["--samples=4"], (0, "3 of 3 routes work"));
    assert!(all.contains("not applicable"), "{all}");
}

#[test]
fn a_filter_in_front_is_named_and_its_cure_is_the_user_agent() {
    fn filter(asked: &Asked) -> Option<Option<Reply>> {
        let lets_pass = asked.agent.starts_with("docker/") || !asked.at_balancer;
        (!lets_pass).then(|| Some(Reply::page(403, "<html>blocked</html>")))
    }
    let kind = || Kind { front: filter, ..SOUND };
    let said = (3, "request-filtered");
    let all = expect("a filter", kind(), &["--samples=4", "-v"], said);
    assert!(all.contains("the nodes are healthy") && all.contains("--user-agent"), "{all}");
    expect("passing", kind(), &["--samples=4", "--user-agent=docker/27.0.0"], FINE);
    let bot =
        Kind { front: |_| Some(Some(Reply::text(403, "text/plain", "error code: 1010"))), ..SOUND };
    expect("a bot rule everywhere", bot, &["--samples=4"], (3, "request-filtered"));
}

#[test]
fn a_token_that_is_too_large_for_a_proxy_is_named_with_its_size() {
    fn refuses(asked: &Asked, reply: &Reply) -> Option<Option<Reply>> {
        (asked.authorization.len() > 200).then(|| Some(reply.clone()))
    }
    let nginx = |asked: &Asked| {
        refuses(asked, &Reply::page(400, "<html>400 Request Header Or Cookie Too Large</html>"))
    };
    let go = |asked: &Asked| refuses(asked, &Reply::text(431, "text/plain", "431 Too Large"));
    let haproxy = |asked: &Asked| {
        let page = Reply::page(400, "<html><body><h1>400 Bad request</h1></body></html>");
        asked.at_balancer.then(|| refuses(asked, &page)).flatten()
    };
    for (what, front) in [
        ("nginx", nginx as fn(&Asked) -> Option<Option<Reply>>),
        ("Go", go),
        ("HAProxy, in front only", haproxy),
    ] {
        let kind = Kind { front, ..SOUND };
        let all = expect(what, kind, &["--samples=4", "-v"], (2, "header-size-limited"));
        let sizes = all.lines().filter(|line| line.contains("Authorization with"));
        assert!(sizes.count() >= 1, "{what}: {all}");
        let short = Kind { front, token: |number, _| format!("{number:040}"), ..SOUND };
        expect(what, short, &["--samples=4"], FINE);
    }
}

#[test]
fn a_realm_that_no_client_can_use_is_shown_with_its_usual_cause() {
    let of = |challenge| Kind { challenge, ..SOUND };
    for (realm, kind) in [
        ("127.0.0.1/token", of(|_, _| vec![r#"Bearer realm="127.0.0.1/token""#.to_owned()])),
        ("/token", of(|_, _| vec![r#"Bearer realm="/token",service="x""#.to_owned()])),
        (
            "http://h:8443:8443/token",
            of(|_, _| vec![r#"Bearer realm="http://h:8443:8443/token""#.to_owned()]),
        ),
        ("\"\"", of(|_, _| vec![r#"Bearer realm="",service="x""#.to_owned()])),
    ] {
        let all = expect(realm, kind, &["--samples=4"], (2, "realm-wrong-endpoint"));
        assert!(all.contains(realm) && all.contains("X-Forwarded-Host"), "{realm}: {all}");
    }
}

#[test]
fn a_token_server_that_nobody_listed_gets_no_credentials_and_is_named_with_the_option() {
    fn elsewhere(base: &str, _: &str) -> Vec<String> {
        let realm = base.replace(BALANCER, ELSEWHERE);
        vec![format!(r#"Bearer realm="{realm}/token",service="fake""#)]
    }
    let site = Site::start(Kind { challenge: elsewhere, ..SOUND });
    let server = format!("http://{ELSEWHERE}:{}", site.port);
    let (code, first, all) = site.check(&["--samples=4"]);
    assert_eq!(code, Some(3), "{all}");
    assert!(first.contains("realm-wrong-endpoint"), "{all}");
    let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("--allowed-realm {server}")), "{all}");
    assert_eq!(site.elsewhere.load(Ordering::Relaxed), 0, "nothing is sent there");
    let (code, first, all) = site.check(&["--samples=4", &format!("--allowed-realm={server}")]);
    assert!(code == Some(0) && first.contains("All OK"), "{all}");
    assert_ne!(site.elsewhere.load(Ordering::Relaxed), 0);
}

#[test]
fn what_the_balancer_alone_does_now_and_then_is_found_and_counted() {
    let refused = Kind {
        front: |asked| {
            let now = asked.at_balancer && asked.path == "/token" && asked.number % 4 == 0;
            now.then(|| Some(Reply::json(401, &json!({ "errors": [{ "code": "UNAUTHORIZED" }] }))))
        },
        ..SOUND
    };
    let all = expect("refused", refused, &[], (2, "unexplained-refusal"));
    assert!(all.contains("another server may answer there"), "{all}");
    let lost = Kind {
        front: |asked| (asked.at_balancer && asked.number % 5 == 0).then_some(None),
        ..SOUND
    };
    let all = expect("lost", lost, &[], (2, "unexplained-loss"));
    assert!(all.contains("another server may answer there"), "{all}");
}

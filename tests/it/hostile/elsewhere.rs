//! Realms and redirects never make the prober go anywhere that is not listed: a second listener
//! writes down whatever reaches it.

use registry_prober::config::{Authority, Scheme, TokenMethod};
use registry_prober::model::{Reason, Step};

use super::rounds::{
    Asks, PASSWORD, PUBLIC, asks, challenge, end, healthy, ill, issued, registry, round,
};
use super::server::{Act, Server, answer};

fn redirect(status: &str, to: &str) -> Vec<Act> {
    vec![answer(status, &format!("Location: {to}\r\n"), "")]
}

/// The places that a redirect or a realm can be written to look like ours. `OTHER` is the other
/// listener, address and port.
const ELSEWHERE: [&str; 8] = [
    "http://OTHER/token",
    "//OTHER/token",
    "https://hub.invalid/token",
    "http://hub.invalid:81/token",
    "http://hub.invalid@OTHER/token",
    "http://OTHER\\@hub.invalid/token",
    "http://hub.invalid.OTHER/token",
    "ftp://hub.invalid/token",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_authority_is_never_followed() {
    let other = Server::saying(vec![issued()]).await;
    let every = ["301 Moved", "302 Found", "303 See Other", "308 Permanent"];
    let mut redirects: Vec<(&str, &str)> = every.map(|status| (status, ELSEWHERE[0])).into();
    redirects.extend(ELSEWHERE.map(|to| ("307 Temporary", to)));
    let kinds = [(Asks::Challenge, Step::Challenge), (Asks::Token, Step::Token)];
    for ((at, step), (status, to)) in
        kinds.into_iter().flat_map(|kind| redirects.iter().map(move |redirect| (kind, *redirect)))
    {
        for method in [TokenMethod::Get, TokenMethod::Post] {
            let to = to.replace("OTHER", &other.address.to_string());
            let (well, ill) = (healthy().await, ill(at, redirect(status, &to)).await);
            let mut registry = registry(PUBLIC, Scheme::Http, &[&ill, &well]);
            registry.balancer.samples = 0;
            registry.token_method = method;
            let round = round(registry, None).await;
            assert_eq!(end(&round, "a"), Some((step, Reason::Redirected)), "{status} {to}");
            assert_eq!(end(&round, "b"), None);
            let asked = ill.requests().iter().filter(|it| asks(it) == at).count();
            assert_eq!(asked, 1, "{status} {to}: asked once and not followed");
        }
    }
    assert_eq!(other.connections(), 0, "{:?}", other.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_within_the_registry_is_followed_but_not_for_ever() {
    let next = |request: &str| request.split(' ').nth(1).unwrap().to_owned() + "x";
    // Once, with the credentials; in a circle; and to ever new places.
    for (name, acts, expected) in [
        ("once", None, None),
        ("to itself", Some("/token?service=hub".to_owned()), Some(Reason::Redirected)),
        ("for ever", Some("NEXT".to_owned()), Some(Reason::Redirected)),
    ] {
        let server = Server::start(None, move |request| {
            let Some(request) = request else { return Vec::new() };
            match (asks(request), &acts) {
                (Asks::Token, None) if request.starts_with("GET /token/there") => vec![issued()],
                (Asks::Token, None) => redirect("307 Temporary", "/token/there"),
                (Asks::Token, Some(to)) => {
                    redirect("302 Found", &to.replace("NEXT", &next(request)))
                }
                (asked, _) => super::rounds::well(asked),
            }
        })
        .await;
        let mut registry = registry(PUBLIC, Scheme::Http, &[&server]);
        registry.balancer.samples = 0;
        let round = round(registry, None).await;
        let expected = expected.map(|reason| (Step::Token, reason));
        assert_eq!(end(&round, "a"), expected, "{name}");
        let tokens = server.requests().iter().filter(|it| asks(it) == Asks::Token).count();
        // Two routes; at most one request and five redirects for each flow.
        assert!(tokens <= 12, "{name}: {tokens}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_elsewhere_gets_nothing_unless_it_is_listed() {
    let other = Server::saying(vec![issued()]).await;
    let address = other.address.to_string();
    for method in [TokenMethod::Get, TokenMethod::Post] {
        for realm in ELSEWHERE {
            let realm = realm.replace("OTHER", &address);
            let (well, ill) =
                (healthy().await, ill(Asks::Challenge, vec![challenge(&realm)]).await);
            let mut registry = registry(PUBLIC, Scheme::Http, &[&ill, &well]);
            registry.token_method = method;
            let round = round(registry, None).await;
            let (step, reason) = end(&round, "a").expect("a flow that fails");
            assert_eq!(step, Step::Token, "{realm}");
            assert!(
                matches!(
                    reason,
                    Reason::RealmNotAllowed | Reason::RealmUnusable | Reason::BadChallenge
                ),
                "{realm}: {reason}"
            );
            assert_eq!(end(&round, "b"), None);
            let asked = ill.requests();
            assert!(!asked.iter().any(|it| it.contains("uthorization: Basic")), "{realm}");
            assert!(!asked.iter().any(|it| asks(it) == Asks::Token), "{realm}");
        }
    }
    assert_eq!(other.connections(), 0, "{:?}", other.requests());

    // The twin: listed, it is asked and given the credentials, and its redirects stay with it.
    let realm = format!("http://{address}/token");
    let ours = ill(Asks::Challenge, vec![challenge(&realm)]).await;
    let mut registry = registry(PUBLIC, Scheme::Http, &[&ours]);
    registry.allowed_realms = vec![Authority::of_url(&realm).unwrap()];
    let round = round(registry, None).await;
    assert_eq!(end(&round, "a"), None);
    let basic = "authorization: basic ";
    assert!(other.requests().iter().any(|it| it.to_ascii_lowercase().contains(basic)));
    assert!(!ours.requests().iter().any(|it| it.to_ascii_lowercase().contains(basic)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_goes_to_the_token_endpoint_alone() {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("prober:{PASSWORD}"));
    for method in [TokenMethod::Get, TokenMethod::Post] {
        let server = healthy().await;
        let mut registry = registry(PUBLIC, Scheme::Http, &[&server]);
        registry.token_method = method;
        let round = round(registry, None).await;
        assert_eq!(end(&round, "a"), None);
        let form = PASSWORD.replace(' ', "+");
        let holds =
            |text: &String| [basic.as_str(), PASSWORD, &form].iter().any(|it| text.contains(it));
        let (told, others): (Vec<_>, Vec<_>) = server.requests().into_iter().partition(holds);
        assert!(!told.is_empty() && told.iter().all(|it| asks(it) == Asks::Token), "{told:?}");
        assert!(others.iter().all(|it| asks(it) != Asks::Token));
        let line = |it: &String| it.lines().next().unwrap_or_default().to_owned();
        assert!(!told.iter().any(|it| line(it).contains("horse")), "never in a URL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_asked_for_by_basic_goes_to_the_registry_alone() {
    let other = Server::saying(vec![issued()]).await;
    let basic = |request: &str| request.to_ascii_lowercase().contains("authorization: basic ");
    let asking = async |then: Vec<Act>| {
        Server::start(None, move |request| match request {
            Some(request) if basic(request) => then.clone(),
            Some(_) => vec![answer("401 No", "WWW-Authenticate: Basic realm=\"hub\"\r\n", "")],
            None => Vec::new(),
        })
        .await
    };
    for to in ELSEWHERE {
        let to = to.replace("OTHER", &other.address.to_string());
        let server = asking(redirect("307 Temporary", &to)).await;
        let round = round(registry(PUBLIC, Scheme::Http, &[&server]), None).await;
        assert_eq!(end(&round, "a"), Some((Step::Access, Reason::Redirected)), "{to}");
        let followed = server.requests().iter().any(|it| asks(it) == Asks::Token);
        assert!(!followed, "{to}: not even under its path");
    }
    assert_eq!(other.connections(), 0, "{:?}", other.requests());

    // The twin: it is sent where it was asked for, and that is enough.
    let server = asking(vec![answer("200 OK", "", "{}")]).await;
    let round = round(registry(PUBLIC, Scheme::Http, &[&server]), None).await;
    assert_eq!(end(&round, "a"), None);
    assert!(server.requests().iter().any(|it| basic(it)));
}

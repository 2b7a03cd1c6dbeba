//! A path that a server names never makes the prober write, or read with a token, outside the
//! repository that it may write to: wherever an upload is said to go on, and wherever `/v2/` and
//! the token endpoint are said to be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, stream};
use registry_prober::clock::Clock;
use registry_prober::config::{PushSettings, Registry, Scheme, TokenMethod};
use registry_prober::model::{BackendName, Outcome, Reason, Round, Route, Step};

use super::rounds::{Asks, PUBLIC, asks, challenge, end, healthy, ill, registry, round, well};
use super::server::{Act, Server, answer};

/// The one repository that may be written to.
const SCRATCH: &str = "probe/scratch";

/// A word that stands in every place that is not to be asked for.
const FORBIDDEN: &str = "forbidden";

/// Where an upload cannot go on. `SCRATCH` is the beginning of every path that it may have.
const PLACES: [&str; 27] = [
    "/v2/../api/v2.0/projects/forbidden",
    "/v2/library/forbidden/manifests/latest",
    "/v2/library/forbidden/blobs/uploads/1",
    "http://hub.test/v2/../api/forbidden",
    "http://hub.test/v2/library/forbidden/manifests/latest",
    "/api/v2.0/forbidden",
    "/v2/probe/scratch-forbidden/blobs/uploads/1",
    "/v2/probe/scratch/manifests/forbidden",
    "/v2/probe/scratch/blobs/forbidden",
    "SCRATCH../../../forbidden/blobs/uploads/1",
    "SCRATCH1/../../../../../forbidden",
    "SCRATCH.%2e/%2e%2e/forbidden",
    "SCRATCH%2E%2E/%2E%2E/forbidden",
    "SCRATCH..%2f..%2fforbidden",
    "SCRATCH..%2F..%2Fforbidden",
    "SCRATCH%252e%252e%252fforbidden",
    "SCRATCH%25252e%25252e%25252fforbidden",
    "SCRATCH..\\..\\forbidden",
    "SCRATCH..%5c..%5cforbidden",
    "SCRATCH..;/..;/forbidden",
    "SCRATCHa/b/forbidden",
    "SCRATCH1;forbidden",
    "SCRATCH1#forbidden",
    "//hub.test/v2/probe/scratch/blobs/uploads/../../../forbidden",
    "http://hub.test\\@hub.test/v2/probe/scratch/blobs/uploads/forbidden",
    "http://hub.test/v2/probe/scratch/blobs/uploads/%2e%2e/%2e%2e/forbidden",
    "http://hub.test/\\../v2/probe/scratch/blobs/uploads/forbidden",
];

/// A token for the scratch repository.
fn issued() -> Act {
    let now = Clock::read().now().timestamp();
    let end = now + 300;
    let access = r#"[{"type":"repository","name":"probe/scratch","actions":["pull","push"]}]"#;
    let claims = format!(
        r#"{{"iss":"i","sub":"prober","aud":"hub","iat":{now},"exp":{end},"access":{access}}}"#
    );
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.c2lnbmF0dXJl", part(r#"{"alg":"ES256","kid":"K"}"#), part(&claims));
    answer("200 OK", "", &format!(r#"{{"token":"{token}"}}"#))
}

/// A registry to which may be pushed, and whose uploads go on there.
async fn pushable(place: String) -> Server {
    Server::start(None, move |request| {
        let Some(request) = request else { return Vec::new() };
        let method = request.split(' ').next().unwrap_or_default();
        vec![match (method, asks(request)) {
            (_, Asks::Token) => issued(),
            ("POST", _) => answer("202 Accepted", &format!("Location: {place}\r\n"), ""),
            ("PUT" | "PATCH", _) => answer("201 Created", "", ""),
            (_, asked) => return well(asked),
        }]
    })
    .await
}

fn pushing(backends: &[&Server]) -> Registry {
    let mut registry = registry(PUBLIC, Scheme::Http, backends);
    registry.balancer.samples = 0;
    registry.checks.push = Some(PushSettings { repository: SCRATCH.to_owned() });
    registry
}

fn uploads() -> String {
    format!("/v2/{SCRATCH}/blobs/uploads/")
}

/// First lines of requests.
fn lines(server: &Server) -> Vec<String> {
    let line = |it: &String| it.lines().next().unwrap_or_default().to_owned();
    server.requests().iter().map(line).collect()
}

fn of_a() -> Route {
    Route::Backend(BackendName::parse("a").unwrap())
}

/// What became of the upload that was begun at the backend.
fn begun(round: &Round) -> String {
    let uploads = round.checks.upload.measured();
    let uploads = uploads.unwrap_or_else(|| panic!("{:?}", round.checks.upload));
    let begun = uploads.begun.iter().find(|begun| begun.route == of_a()).unwrap();
    match &begun.value {
        Outcome::Failed(failure) => failure.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_in_its_own_repository_whatever_a_server_says() {
    let played = stream::iter(PLACES).map(async |place| {
        let ill = pushable(place.replace("SCRATCH", &uploads())).await;
        let well = pushable(format!("{}1?_state=s", uploads())).await;
        let round = round(pushing(&[&ill, &well]), None).await;
        let asked = [lines(&ill), lines(&well)].concat();
        let writes = asked.iter().filter(|line| !line.starts_with("GET ")).count();
        assert!(writes > 2, "{place}: uploads are begun: {asked:?}");
        let begun = begun(&round);
        let told = begun.contains("expected a Location under /v2/probe/scratch/blobs/uploads/");
        let bounded = begun.len() < 500 && !begun.contains(char::is_control);
        let out = asked.into_iter().find(|line| line.contains(FORBIDDEN));
        (out.is_some() || !told || !bounded).then(|| format!("{place}: {out:?}: {begun}"))
    });
    let wrong: Vec<Option<String>> = played.buffer_unordered(6).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_goes_on_where_it_may_is_followed() {
    for place in ["SCRATCH1?_state=a%3D&x=..%2f", "http://hub.test/SCRATCH1?_state=a%3D"] {
        let place = place.replace("/SCRATCH", &uploads()).replace("SCRATCH", &uploads());
        let server = pushable(place).await;
        let round = round(pushing(&[&server]), None).await;
        assert!(begun(&round).contains("At("), "{}", begun(&round));
        let put = format!("PUT {}1?_state=a%3D&", uploads());
        assert!(lines(&server).iter().any(|line| line.starts_with(&put)), "{:?}", lines(&server));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_or_realm_never_leads_into_the_content_or_the_management_of_a_registry() {
    let paths = [
        "/v2/library/forbidden/manifests/latest",
        "/v2/library/forbidden/blobs/uploads/",
        "/v2/x/../library/forbidden/manifests/latest",
        "//v2/library/forbidden/manifests/latest",
        "/v2/library/forbidden/%6danifests/latest",
        "/service/..%2f..%2fv2/library/forbidden/manifests/latest",
        "/service/%252e%252e/forbidden",
        "/api/v2.0/forbidden",
        "/service/..%5c..%5capi/forbidden",
    ];
    let cases = paths.into_iter().flat_map(|path| {
        let to = format!("Location: {path}\r\n");
        let redirect = answer("307 Temporary", &to, "");
        let realm = challenge(&format!("{PUBLIC}{path}"));
        let (get, post) = (TokenMethod::Get, TokenMethod::Post);
        [
            (path, get, Asks::Challenge, redirect.clone(), (Step::Challenge, Reason::Redirected)),
            (path, post, Asks::Token, redirect, (Step::Token, Reason::Redirected)),
            (path, get, Asks::Challenge, realm, (Step::Token, Reason::RealmUnusable)),
        ]
    });
    let played = stream::iter(cases).map(async |(path, method, at, act, expected)| {
        let (well, ill) = (healthy().await, ill(at, vec![act]).await);
        let mut registry = registry(PUBLIC, Scheme::Http, &[&ill, &well]);
        registry.balancer.samples = 0;
        registry.token_method = method;
        let end = end(&round(registry, None).await, "a");
        let asked = [lines(&ill), lines(&well)].concat();
        let out = asked.into_iter().find(|line| line.contains(FORBIDDEN));
        (out.is_some() || end != Some(expected)).then(|| format!("{at:?} {path}: {out:?}, {end:?}"))
    });
    let wrong: Vec<Option<String>> = played.buffer_unordered(6).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_with_the_password_is_sent_again_only_where_a_redirect_keeps_the_method() {
    for (status, followed) in
        [("307 Temporary", true), ("308 Permanent", true), ("302 Found", false), ("303 See", false)]
    {
        let server = Server::start(None, move |request| {
            let Some(request) = request else { return Vec::new() };
            match asks(request) {
                Asks::Token if request.starts_with("POST /token/there") => {
                    vec![super::rounds::issued()]
                }
                Asks::Token => vec![answer(status, "Location: /token/there\r\n", "")],
                asked => well(asked),
            }
        })
        .await;
        let mut registry = registry(PUBLIC, Scheme::Http, &[&server]);
        registry.balancer.samples = 0;
        registry.token_method = TokenMethod::Post;
        let round = round(registry, None).await;
        let expected = (!followed).then_some((Step::Token, Reason::Redirected));
        assert_eq!(end(&round, "a"), expected, "{status}");
    }
}

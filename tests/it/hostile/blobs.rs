//! A blob's redirect is the one thing that is followed to a stranger: it gets no credential, and
//! what it can make the prober do is bounded.

use registry_prober::config::{Registry, Scheme, Scope};
use registry_prober::diagnosis;
use registry_prober::model::{BlobWay, Confidence, Fetched, FindingName, Outcome, Round};

use super::rounds::{PUBLIC, asks, registry, round, well};
use super::server::{Act, Server, answer};

const SESSION: &str = "Set-Cookie: sid=0123456789abcdef; Path=/; HttpOnly\r\n";
const SIGNATURE: &str = "X-Amz-Signature=deadbeef";

/// A registry with an image whose blobs lie at `store`, and sessions for all.
async fn with_store(store: String) -> Server {
    let digest = format!("sha256:{}", "0f".repeat(32));
    Server::start(None, move |request| {
        let Some(request) = request else { return Vec::new() };
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (_, rest) = path.split_once("/probe/canary/").unwrap_or_default();
        vec![match rest.split('/').next() {
            Some("tags") => answer("200 OK", SESSION, r#"{"tags":["v1"]}"#),
            Some("manifests") => {
                let headers = format!("{SESSION}Docker-Content-Digest: {digest}\r\n");
                answer("200 OK", &headers, &format!(r#"{{"config":{{"digest":"{digest}"}}}}"#))
            }
            Some("blobs") if path.ends_with(&digest) => {
                let place = format!("{store}/{digest}?{SIGNATURE}");
                answer("307 Temporary", &format!("{SESSION}Location: {place}\r\n"), "")
            }
            _ => return well(asks(request)),
        }]
    })
    .await
}

async fn played(store: String) -> Round {
    let server = with_store(store).await;
    let mut registry: Registry = registry(PUBLIC, Scheme::Http, &[&server]);
    registry.balancer.samples = 0;
    registry.scope = Scope::parse("repository:probe/canary:pull");
    registry.credentials = None;
    round(registry, None).await
}

fn way(round: &Round) -> &BlobWay {
    let redirects = round.checks.blob_redirect.measured();
    let redirects = redirects.unwrap_or_else(|| panic!("{:?}", round.checks.blob_redirect));
    redirects.at[0].value.measured().unwrap_or_else(|| panic!("{redirects:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_gets_one_small_request_without_credentials_and_its_refusal_is_named() {
    let body = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    let store = Server::saying(vec![answer("403 Forbidden", SESSION, body)]).await;
    let round = played(format!("http://{}/bucket", store.address)).await;

    let fetched = Outcome::Measured(Fetched { status: 403, about_time: true });
    let to = format!("http://{}", store.address);
    assert_eq!(*way(&round), BlobWay::Redirected { to, fetched });
    let got = store.requests();
    assert_eq!(got.len(), 2, "tried again once: {got:?}");
    for request in got {
        let request = request.to_ascii_lowercase();
        assert!(request.contains("\r\nrange: bytes=0-0\r\n"), "{request}");
        for secret in ["authorization", "cookie", "bearer"] {
            assert!(!request.contains(secret), "{request}");
        }
    }
    let assessment = diagnosis::assess(&round);
    let finding = &assessment.findings[0];
    assert_eq!(finding.finding, FindingName::BlobRedirectUnreachable, "{assessment:?}");
    assert_eq!(finding.confidence, Confidence::Proved);
    let told = serde_json::to_string(&(&round, &assessment)).unwrap();
    assert!(!told.contains("deadbeef") && !told.contains("0123456789abcdef"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_gives_the_blob_is_well_and_one_that_floods_is_cut() {
    for act in [answer("206 Partial Content", "", "x"), Act::Flood(vec![b'x'; 9_000])] {
        let floods = matches!(act, Act::Flood(_));
        let head = super::server::send("HTTP/1.1 200 OK\r\n\r\n");
        let acts = if floods { vec![head, act] } else { vec![act] };
        let store = Server::saying(acts).await;
        let round = played(format!("http://{}/bucket", store.address)).await;
        let BlobWay::Redirected { fetched, .. } = way(&round) else { panic!("{round:?}") };
        assert!(fetched.measured().is_some_and(|fetched| fetched.is_good()), "{fetched:?}");
        let findings = diagnosis::assess(&round).findings;
        assert!(findings.is_empty(), "{findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cannot_lead_the_prober_to_a_cloud_s_metadata_or_out_of_http() {
    let round = played("http://169.254.169.254/latest".to_owned()).await;
    let BlobWay::Redirected { fetched: Outcome::Failed(failure), .. } = way(&round) else {
        panic!("{:?}", way(&round))
    };
    assert!(failure.to_string().contains("no address that clients could reach"), "{failure}");
    let round = played("file:///etc".to_owned()).await;
    let redirects = round.checks.blob_redirect.measured().unwrap();
    assert!(matches!(redirects.at[0].value, Outcome::Failed(_)), "{redirects:?}");
}

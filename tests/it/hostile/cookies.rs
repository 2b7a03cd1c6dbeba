//! A cookie goes back to the server that it came from, and to no other: neither to a token server
//! next to the registry nor from there to a route.

use registry_prober::config::{Authority, Scheme};

use super::rounds::{Asks, PUBLIC, asks, challenge, end, jwt, registry, round, well};
use super::server::{Act, Server, answer};

/// A server that gives this session with every answer that is one of `says`.
async fn giving(
    session: &'static str,
    says: impl Fn(Asks) -> Vec<Act> + Send + Sync + 'static,
) -> Server {
    Server::start(None, move |request| {
        let Some(request) = request else { return Vec::new() };
        let mut acts = says(asks(request));
        if let Some(Act::Send(answer)) = acts.first_mut() {
            let text = String::from_utf8(std::mem::take(answer)).unwrap();
            let cookie = format!("\r\nSet-Cookie: sid={session}; Path=/; HttpOnly\r\n");
            *answer = text.replacen("\r\n", &cookie, 1).into_bytes();
        }
        acts
    })
    .await
}

/// Every cookie that a server was sent.
fn cookies(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let lines = requests.iter().flat_map(|request| request.lines());
    let cookies = lines.filter(|line| line.to_ascii_lowercase().starts_with("cookie: "));
    cookies.map(|line| line[8..].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_back_to_its_own_authority_and_route_alone() {
    let token = || vec![answer("200 OK", "", &format!(r#"{{"token":"{}"}}"#, jwt()))];
    let issuer = giving("5e551000000000000000000000000000", move |_| token()).await;
    let realm = format!("http://{}/token", issuer.address);
    let says = move |asked| match asked {
        Asks::Challenge => vec![challenge(&realm)],
        asked => well(asked),
    };
    let a = giving("aaaa1000000000000000000000000000", says.clone()).await;
    let b = giving("bbbb1000000000000000000000000000", says).await;
    let mut registry = registry(PUBLIC, Scheme::Http, &[&a, &b]);
    registry.allowed_realms =
        vec![Authority::of_url(&format!("http://{}", issuer.address)).unwrap()];
    let round = round(registry, None).await;
    assert_eq!((end(&round, "a"), end(&round, "b")), (None, None));
    for (name, server, own) in
        [("the token server", &issuer, "5e55"), ("a", &a, "aaaa"), ("b", &b, "bbbb")]
    {
        let sent = cookies(server);
        let own = format!("sid={own}1000000000000000000000000000");
        assert!(sent.contains(&own), "{name} gets its own back");
        assert!(sent.iter().all(|cookie| *cookie == own), "{name}: {sent:?}");
    }
}

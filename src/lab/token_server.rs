//! A token server in the manner of `docker_auth`, for plain distribution nodes.

use http::{Method, Response};
use hyper::body::Bytes;
use rand::Rng as _;

use super::Family;
use super::answer::{set, with_body};
use super::call::{Call, form_values};
use super::distribution::ISSUER;
use super::jwt::{self, Access, Claims, HeaderOrder};

/// Seconds that a token lives.
const LIFETIME: i64 = 900;
/// Seconds by which `nbf` lies before `iat`.
const EARLIER: i64 = 10;

/// What was asked for, by either method.
struct TokenRequest {
    service: String,
    scopes: Vec<String>,
    login: Option<(String, String)>,
    account: Option<String>,
}

/// Answers a request at the token endpoint.
pub(super) fn answer(call: &mut Call<'_>) -> Response<Bytes> {
    let asked = match *call.method() {
        Method::GET | Method::HEAD => from_query(call),
        Method::POST => from_form(call),
        _ => return plain(405, "Method not allowed\n"),
    };
    let login = asked.login.clone().filter(|(user, password)| known(call, user, password));
    let Some((user, _)) = login else {
        let mut response = plain(401, "Auth failed.\n");
        set(&mut response, "www-authenticate", &format!("Basic realm=\"{}\"", issuer(call)));
        return response;
    };
    if let Some(account) = asked.account.filter(|account| *account != user) {
        return plain(
            400,
            &format!("Bad request: user and account are not the same ({user:?} vs {account:?})\n"),
        );
    }
    let access = asked.scopes.iter().filter_map(|scope| grant(call, &user, scope)).collect();
    match issue(call, user, asked.service, access) {
        Some(token) => {
            let body = format!("{{\"access_token\":\"{token}\",\"token\":\"{token}\"}}");
            with_body(200, "application/json", body)
        }
        None => plain(500, "Failed to generate token.\n"),
    }
}

/// The text at the root, by which one sees that it is a token server.
pub(super) fn root(call: &Call<'_>) -> Response<Bytes> {
    with_body(200, "text/html; charset=utf-8", format!("<h1>{}</h1>\n", issuer(call)))
}

/// The name under which it issues and asks for passwords.
fn issuer<'a>(call: &'a Call<'_>) -> &'a str {
    call.settings.issuer_claim.as_deref().unwrap_or(ISSUER)
}

fn from_query(call: &Call<'_>) -> TokenRequest {
    TokenRequest {
        service: call.query("service").into_iter().next().unwrap_or_default(),
        scopes: call.query("scope"),
        login: call.basic(),
        account: call.query("account").into_iter().next(),
    }
}

fn from_form(call: &Call<'_>) -> TokenRequest {
    let form = String::from_utf8_lossy(call.request.body()).into_owned();
    let first = |name: &str| form_values(&form, name).into_iter().next();
    TokenRequest {
        service: first("service").unwrap_or_default(),
        scopes: form_values(&form, "scope"),
        login: first("username").zip(first("password")),
        account: None,
    }
}

fn known(call: &mut Call<'_>, user: &str, password: &str) -> bool {
    let settings = call.settings;
    if !settings.database_up || settings.secret_changed || settings.robot_disabled {
        return false;
    }
    let database = call.stores.database(settings.database);
    database.account(user).is_some_and(|account| account.secret == password)
}

fn grant(call: &mut Call<'_>, user: &str, scope: &str) -> Option<Access> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let settings = call.settings;
    let allowed = call.stores.database(settings.database).account(user)?.actions;
    let refused = settings.permission_missing || settings.project_missing;
    let actions = actions
        .split(',')
        .filter(|action| kind == "repository" && !refused && allowed.contains(action))
        .map(str::to_owned)
        .collect();
    Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions })
}

fn issue(
    call: &mut Call<'_>,
    user: String,
    service: String,
    access: Vec<Access>,
) -> Option<String> {
    let key = call.signing_key()?;
    let now = call.now.div_euclid(1_000_000_000);
    let settings = call.settings;
    let rfc7638 = (settings.family == Family::Distribution3) != settings.other_kid_form;
    let kid = if rfc7638 { &key.thumbprint } else { &key.libtrust_id };
    let claims = Claims {
        iss: issuer(call).to_owned(),
        sub: Some(user),
        aud: settings.audience_claim.clone().unwrap_or(service),
        exp: now + settings.token_lifetime.unwrap_or(LIFETIME),
        nbf: now - EARLIER,
        iat: now,
        jti: call.rng.random::<u64>().wrapping_shr(1).to_string(),
        access: Some(access),
    };
    jwt::issue(&key, kid, HeaderOrder::TypAlgKid, &claims)
}

fn plain(status: u16, text: &str) -> Response<Bytes> {
    let mut response = with_body(status, "text/plain; charset=utf-8", text.to_owned());
    set(&mut response, "x-content-type-options", "nosniff");
    response
}

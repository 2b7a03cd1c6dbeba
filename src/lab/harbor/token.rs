//! Harbor's token endpoint.

use http::{Method, Response};
use hyper::body::Bytes;
use rand::seq::SliceRandom as _;

use super::super::Family;
use super::super::answer::{rfc3339, set, with_body};
use super::super::call::Call;
use super::super::distribution::{self, HARBOR_ISSUER, HARBOR_SERVICE};
use super::super::jwt::{self, Access, Claims, HeaderOrder};
use super::super::resource::project;
use super::super::stores::PROJECT;
use super::answers::bare;
use super::auth::{self, Principal};

/// Seconds that a token lives unless it is configured otherwise.
const LIFETIME: i64 = 1_800;

pub(super) fn answer(call: &mut Call<'_>) -> Response<Bytes> {
    if *call.method() != Method::GET && *call.method() != Method::HEAD {
        let mut response = with_body(405, "text/plain; charset=utf-8", "Method Not Allowed\n");
        set(&mut response, "x-content-type-options", "nosniff");
        return response;
    }
    let service = call.query("service").into_iter().next().unwrap_or_default();
    if service != HARBOR_SERVICE && service != distribution::service(call) {
        let text = format!("Unable to handle service: {service}");
        return with_body(400, "text/plain; charset=utf-8", text);
    }
    let scopes = call.query("scope");
    if call.basic().is_some() || scopes.iter().any(|scope| scope.starts_with("repository:")) {
        call.spend(call.settings.database_slow);
    }
    let principal = match call.basic() {
        Some((user, password)) => auth::login(call, &user, &password),
        None => Principal::Anonymous,
    };
    if scopes.is_empty() && !principal.known() {
        return bare(401);
    }
    let access: Vec<Access> =
        scopes.iter().filter_map(|scope| grant(call, &principal, scope)).collect();
    match issue(call, &principal, (!scopes.is_empty()).then_some(access)) {
        Some((token, lifetime)) => {
            let body = format!(
                "{{\"token\":\"{token}\",\"access_token\":\"\",\"expires_in\":{lifetime},\
                 \"issued_at\":\"{}\"}}",
                rfc3339(call.now, 0)
            );
            with_body(200, "application/json; charset=utf-8", body)
        }
        None => bare(500),
    }
}

/// What of a scope the caller gets: the entry itself always, and in it every action that it has
/// in that project, whatever it asked for, in random order.
fn grant(call: &mut Call<'_>, principal: &Principal, scope: &str) -> Option<Access> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, _) = rest.rsplit_once(':')?;
    let allowed =
        if kind == "repository" { permitted(call, principal, project(name)) } else { &[] };
    let mut actions: Vec<String> = allowed.iter().map(|action| (*action).to_owned()).collect();
    actions.shuffle(call.rng);
    Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions })
}

/// The actions that an account has in a project.
pub(super) fn permitted(
    call: &mut Call<'_>,
    principal: &Principal,
    project: &str,
) -> &'static [&'static str] {
    let settings = call.settings;
    if !settings.database_up || (project == PROJECT && settings.project_missing) {
        return &[];
    }
    let Some(public) = call.stores.database(settings.database).project(project) else {
        return &[];
    };
    match principal {
        Principal::Account(account)
            if project == PROJECT && !settings.permission_missing || account.admin =>
        {
            account.actions
        }
        _ if public => &["pull"],
        _ => &[],
    }
}

fn issue(
    call: &mut Call<'_>,
    principal: &Principal,
    access: Option<Vec<Access>>,
) -> Option<(String, i64)> {
    let key = call.signing_key()?;
    let settings = call.settings;
    let now = call.now.div_euclid(1_000_000_000);
    let lifetime = settings.token_lifetime.unwrap_or(LIFETIME);
    let old = settings.family == Family::Harbor1;
    let subject = match principal {
        Principal::Account(account) => Some(account.name.clone()),
        _ => old.then(String::new),
    };
    let claims = Claims {
        iss: settings.issuer_claim.clone().unwrap_or_else(|| HARBOR_ISSUER.to_owned()),
        sub: subject,
        aud: settings.audience_claim.clone().unwrap_or_else(|| HARBOR_SERVICE.to_owned()),
        exp: now + lifetime,
        nbf: now,
        iat: now,
        jti: call.random_word(16),
        access,
    };
    let order = if old { HeaderOrder::TypAlgKid } else { HeaderOrder::AlgKidTyp };
    let kid = if settings.other_kid_form { &key.thumbprint } else { &key.libtrust_id };
    Some((jwt::issue(&key, kid, order, &claims)?, lifetime))
}

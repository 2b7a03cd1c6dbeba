//! Sessions: the `sid` cookie on nearly every answer, and logging in with a password.
//!
//! The id of an anonymous session carries the number of the Redis that created it, so that the lab
//! need not remember millions of them.

use http::{Method, Response};
use hyper::body::Bytes;
use rand::Rng as _;

use super::super::call::{Call, form_values};
use super::super::credentials::Account;
use super::super::digest::hex;
use super::answers::{bare, json_error};
use super::auth::{Principal, login};

/// The `Set-Cookie` of a new session, unless the caller's is known.
pub(super) fn new_cookie(call: &mut Call<'_>) -> Option<String> {
    let known = call.settings.redis_up && call.cookie("sid").is_some_and(|sid| is_known(call, sid));
    (!known).then(|| format!("sid={}; Path=/; HttpOnly", new_id(call)))
}

/// The person whose session the caller shows.
pub(super) fn person(call: &mut Call<'_>) -> Option<Account> {
    if !call.settings.redis_up || !call.settings.database_up {
        return None;
    }
    let sid = call.cookie("sid")?.to_owned();
    let name = call.stores.redis(call.settings.redis).people.get(&sid)?.clone();
    call.stores.database(call.settings.database).account(&name).cloned()
}

/// `/c/login` and the like.
pub(super) fn answer(call: &mut Call<'_>) -> Response<Bytes> {
    if call.path() != "/c/login" || *call.method() != Method::POST {
        return json_error(404, "NOT_FOUND", "The request is not found");
    }
    let form = String::from_utf8_lossy(call.request.body()).into_owned();
    let first = |name: &str| form_values(&form, name).into_iter().next().unwrap_or_default();
    let principal = login(call, &first("principal"), &first("password"));
    match principal {
        Principal::Account(account) => {
            if let Some(sid) = call.cookie("sid").map(str::to_owned) {
                call.stores.redis(call.settings.redis).people.insert(sid, account.name);
            }
            bare(200)
        }
        _ => json_error(401, "UNAUTHORIZED", "unauthorized"),
    }
}

fn new_id(call: &mut Call<'_>) -> String {
    let random: [u8; 8] = call.rng.random();
    let mut id = hex(&random);
    id.push_str(&tag(call.settings.redis, &id));
    id
}

fn is_known(call: &Call<'_>, sid: &str) -> bool {
    sid.len() == 32
        && sid.split_at_checked(16).is_some_and(|(id, mark)| tag(call.settings.redis, id) == mark)
}

/// Marks an id with its Redis. The lab has no attackers, so this need not be cryptography.
fn tag(redis: u32, id: &str) -> String {
    let start = 0xcbf2_9ce4_8422_2325 ^ u64::from(redis).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mark = id
        .bytes()
        .fold(start, |mark, byte| (mark ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{mark:016x}")
}

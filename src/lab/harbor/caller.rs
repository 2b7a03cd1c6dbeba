//! Who core takes a caller for: by a token, by a password or by a session.

use super::super::call::Call;
use super::auth::{Principal, bearer, login};
use super::session;

/// The caller. Finding out takes the time that it takes.
pub(super) fn principal(call: &mut Call<'_>) -> Principal {
    // Core wants the scheme in exactly this spelling.
    if let Some(token) =
        call.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
    {
        let token = token.to_owned();
        return bearer(call, &token).map_or(Principal::Anonymous, Principal::Token);
    }
    if let Some((user, password)) = call.basic() {
        return login(call, &user, &password);
    }
    session::person(call).map_or(Principal::Anonymous, Principal::Account)
}

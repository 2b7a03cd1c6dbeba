//! Who core takes a caller for.

use std::time::Duration;

use super::super::Family;
use super::super::call::Call;
use super::super::credentials::Account;
use super::super::distribution::{HARBOR_ISSUER, HARBOR_SERVICE};
use super::super::jwt::{self, KeyChoice, Policy, Verified};

/// How long a failed password login takes, and how long it locks the account on this core.
const PENALTY: Duration = Duration::from_millis(1_500);

/// A caller.
#[derive(Debug, Clone)]
pub(super) enum Principal {
    Anonymous,
    /// By Basic authentication or a session.
    Account(Account),
    /// By a token with a subject or without.
    Token(Verified),
}

impl Principal {
    /// Whether core calls this caller authenticated.
    pub(super) fn known(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Account(_) => true,
            Self::Token(token) => !token.subject.is_empty(),
        }
    }
}

/// Who a token names, if core takes it.
pub(super) fn bearer(call: &Call<'_>, token: &str) -> Option<Verified> {
    let family = call.settings.family;
    let keys: Vec<_> = call.verifying_key().into_iter().collect();
    let expected = call.settings.expected_issuer.as_deref().unwrap_or(HARBOR_ISSUER);
    let policy = Policy {
        keys: &keys,
        choice: KeyChoice::Own,
        issuer: family.checks_issuer().then_some(expected),
        audience: call.settings.expected_audience.as_deref().unwrap_or(HARBOR_SERVICE),
        audience_list: true,
        future_iat_refused: family == Family::Harbor210,
        exp_needed: false,
        leeway: family.leeway_seconds() * 1_000_000_000,
    };
    jwt::verify(token, &policy, call.now).ok()
}

/// Checks a password as core does: robots first, then people, whose failures cost time.
pub(super) fn login(call: &mut Call<'_>, user: &str, password: &str) -> Principal {
    let settings = call.settings;
    if !settings.database_up {
        return Principal::Anonymous;
    }
    let account = call.stores.database(settings.database).account(user).cloned();
    let account = account.filter(|account| {
        account.secret == password
            && !(account.robot
                && (settings.secret_changed
                    || settings.robot_disabled
                    || settings.robot_secret_is_token))
            && (account.robot || !settings.secret_changed || account.admin)
    });
    // A directory that does not answer locks no account.
    let person = account.as_ref().is_some_and(|account| !account.robot && !account.admin);
    if let Some(time) = settings.people_refused.filter(|_| person) {
        call.spend(time);
        return Principal::Anonymous;
    }
    match account {
        Some(account) if account.robot => Principal::Account(account),
        _ if locked(call, user) => Principal::Anonymous,
        Some(account) => {
            // Hashing a person's password: 600,000 rounds from 2.15.2 on.
            let cost = if settings.family == Family::Harbor215 { 105 } else { 2 };
            let directory = if account.admin { Duration::ZERO } else { settings.people_slow };
            call.spend(Duration::from_millis(cost) + directory);
            Principal::Account(account)
        }
        None => {
            call.memory.locked.insert(user.to_owned(), call.elapsed + PENALTY);
            call.spend(PENALTY);
            Principal::Anonymous
        }
    }
}

/// Whether a failed login, by this caller or by another, locks the account now.
fn locked(call: &mut Call<'_>, user: &str) -> bool {
    let elapsed = call.elapsed;
    call.memory.locked.retain(|_, until| *until > elapsed);
    if call.memory.locked.contains_key(user) {
        return true;
    }
    call.settings.failing_logins.is_some_and(|every| {
        let since = elapsed.as_nanos() % every.as_nanos().max(1);
        since < PENALTY.as_nanos()
    })
}

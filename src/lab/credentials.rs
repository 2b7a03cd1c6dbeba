//! The accounts of the lab. The passwords are part of the program and worth nothing elsewhere.

use std::fmt;

/// A user name with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user or robot.
    pub username: String,
    /// Its password or secret.
    pub password: String,
}

impl Login {
    fn new(username: &str, password: &str) -> Self {
        Self { username: username.to_owned(), password: password.to_owned() }
    }

    /// The robot that pulls the canary.
    pub fn prober() -> Self {
        Self::new("robot$probe+prober", "lab-prober-secret")
    }

    /// The robot that pulls and pushes.
    pub fn pusher() -> Self {
        Self::new("robot$probe+pusher", "lab-pusher-secret")
    }

    /// The system robot that lists worker pools and replications.
    pub fn pools() -> Self {
        Self::new("robot$pools", "lab-pools-secret")
    }

    /// A person who pulls the canary.
    pub fn person() -> Self {
        Self::new("prober", "lab-person-secret")
    }

    /// The administrator.
    pub fn admin() -> Self {
        Self::new("admin", "lab-admin-secret")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.username)
    }
}

/// An account as the servers know it.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) secret: String,
    /// What it may do in the canary's project.
    pub(super) actions: &'static [&'static str],
    pub(super) robot: bool,
    pub(super) lists_pools: bool,
    pub(super) admin: bool,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.name)
    }
}

/// Every account of a full database.
pub(super) fn accounts() -> Vec<Account> {
    let account = |login: Login, actions: &'static [&'static str]| Account {
        robot: login.username.starts_with("robot$"),
        lists_pools: login == Login::pools() || login == Login::admin(),
        admin: login == Login::admin(),
        name: login.username,
        secret: login.password,
        actions,
    };
    vec![
        account(Login::prober(), &["pull"]),
        account(Login::pusher(), &["pull", "push"]),
        account(Login::pools(), &[]),
        account(Login::person(), &["pull"]),
        account(Login::admin(), &["pull", "push", "delete"]),
    ]
}

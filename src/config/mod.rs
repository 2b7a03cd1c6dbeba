//! From a YAML file to a [`Config`] in which every rule already holds.
//!
//! `node` reads YAML into values that know their line and column, `file` has the raw shape,
//! `resolve` checks it and collects every problem at once, `secret` reads passwords from files and
//! docker's own configuration, `source` where backends come from, `targets` and `kubeconfig` the files
//! that discovery reads while it runs. The only room that knows YAML. Nothing here opens a connection.
//!
//! A new key: declare and document it in `file`, check it in `resolve`, print it in `show`, and
//! give each way of being wrong a sentence in `problem` and a file under `tests/data/config`.

mod ad_hoc;
mod checks;
mod file;
mod files;
mod kubeconfig;
mod load;
mod node;
mod pace;
mod port;
mod problem;
mod read;
mod resolve;
mod schema;
mod scope;
mod secret;
mod settings;
mod shard;
mod show;
mod source;
mod targets;
mod url;
mod web;

pub use ad_hoc::{AdHoc, ad_hoc};
pub use checks::{CheckSettings, PushSettings};
pub use kubeconfig::{ClusterAccess, ClusterError, cluster_access};
pub use load::{Fingerprint, Loaded, fingerprint, load};
pub use port::ServicePort;
pub use problem::{AdHocErrors, ConfigErrors, Mistake, Place, Problem, ReadError};
pub use schema::schema_json;
pub use scope::Scope;
pub use secret::docker_account;
pub use settings::{
    BalancerSettings, ClientIdentity, Config, Credentials, MatrixMode, PasswordSource, Registry,
    Sources, TlsSettings, TokenMethod,
};
pub use shard::Shard;
pub use show::show;
pub use source::{Backend, BackendSource, DnsSource, FileSource, KubernetesSource};
pub use targets::{TargetsError, targets};
pub use url::{Authority, HostPort, PublicUrl, Scheme, UrlError};
pub use web::{WebConfig, WebTls, web_config};

//! Against real servers on loopback: Debian's registry, nginx, `HAProxy`, Prometheus, Chromium.
//! The tests start what they need on free ports and end it by process id.

mod clients;
mod clock;
mod dns;
mod faults;
mod fronts;
mod page;
mod pki;
mod plan;
mod pods;
pub(crate) mod process;
mod prometheus;
mod proxies;
mod pushes;
mod redirects;
mod registries;
mod restart;
mod servers;
mod site;
mod taken_out;
mod token_servers;
mod two_versions;
mod verdict;

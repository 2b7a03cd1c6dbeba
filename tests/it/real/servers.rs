//! Debian's registry, nginx and `HAProxy` with the configurations that a site needs.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::pki::CertificateFiles;
use super::plan::{ISSUER, NODES, NodePlan, SERVICE, Version, login};
use super::process::{Process, command};

/// A registry that trusts the key in the file `trusted` and sends clients to the plan's realm.
/// All registries of a folder share their storage and their secret, unless the plan says otherwise.
pub(crate) async fn registry(
    folder: &Path,
    name: &str,
    plan: &NodePlan,
    trusted: &Path,
) -> (Process, SocketAddr) {
    let storage = if plan.own_storage { format!("storage-{name}") } else { "storage".to_owned() };
    let (storage, trusted) = (folder.join(storage), trusted.display());
    let secret = if plan.own_secret { name } else { "all" };
    let (realm, read_only) = (&plan.realm, plan.read_only);
    let redirect = plan.store.map_or_else(String::new, |store| {
        format!("middleware: {{storage: [{{name: redirect, options: {{baseurl: 'http://{store}'}}}}]}}\n")
    });
    Process::listening(folder, &format!("registry-{name}"), |address| {
        let text = format!(
            "version: 0.1\n\
             log: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage:\n  filesystem: {{rootdirectory: '{}'}}\n  \
             maintenance: {{readonly: {{enabled: {read_only}}}}}\n\
             http: {{addr: '{address}', secret: 'of {secret}'}}\n\
             auth:\n  token: {{realm: '{realm}', service: '{SERVICE}', issuer: '{ISSUER}', \
             rootcertbundle: '{trusted}'}}\n{redirect}",
            storage.display()
        );
        let file = folder.join(format!("registry-{name}.yml"));
        fs::write(&file, text).unwrap();
        let mut command = match plan.version {
            Version::Debian => command("docker-registry"),
            Version::Three => Command::new(distribution_3()),
        };
        command.arg("serve").arg(file);
        command
    })
    .await
}

/// A registry without tokens: it takes the account of the plan by Basic.
pub(crate) async fn registry_with_passwords(folder: &Path, name: &str) -> (Process, SocketAddr) {
    // The password of `login()`, by bcrypt at its least cost.
    let hash = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    let passwords = folder.join("htpasswd");
    fs::write(&passwords, format!("{}:{hash}\n", login().username)).unwrap();
    Process::listening(folder, name, |address| {
        let text = format!(
            "version: 0.1\n\
             log: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '{address}', secret: 'of all'}}\n\
             auth: {{htpasswd: {{realm: 'Registry Realm', path: '{}'}}}}\n",
            folder.join("storage").display(),
            passwords.display(),
        );
        let file = folder.join(format!("{name}.yml"));
        fs::write(&file, text).unwrap();
        let mut command = command("docker-registry");
        command.arg("serve").arg(file);
        command
    })
    .await
}

/// Where `tests/run` puts the registry of the other major version, which no Debian package has.
pub(crate) fn distribution_3() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_registry-prober"));
    let target = built.ancestors().nth(2).expect("a profile's folder");
    target.join("tools/distribution-3.1.1/registry")
}

/// An nginx with TLS that passes each of some locations to an address.
pub(crate) async fn nginx_front(
    folder: &Path,
    name: &str,
    locations: &[(&str, SocketAddr)],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    nginx_front_with(folder, name, "", locations, certificate).await
}

/// The same with more directives in each location.
pub(crate) async fn nginx_front_with(
    folder: &Path,
    name: &str,
    directives: &str,
    locations: &[(&str, SocketAddr)],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    let mut text = String::new();
    for (location, to) in locations {
        let _ = writeln!(text, "location {location} {{ proxy_pass http://{to}; {directives} }}");
    }
    nginx(folder, name, "", &text, &tls(certificate), "").await
}

/// The same without TLS, as a pod behind an ingress.
pub(crate) async fn nginx_pod(
    folder: &Path,
    name: &str,
    directives: &str,
    locations: &[(&str, SocketAddr)],
) -> (Process, SocketAddr) {
    let mut text = String::new();
    for (location, to) in locations {
        let _ = writeln!(text, "location {location} {{ {directives} proxy_pass http://{to}; }}");
    }
    nginx(folder, name, "", &text, "", "").await
}

/// An nginx without TLS that gives the files below `root`.
pub(crate) async fn nginx_store(
    folder: &Path,
    name: &str,
    directives: &str,
    root: &Path,
) -> (Process, SocketAddr) {
    let location = format!("location / {{ root '{}'; {directives} }}", root.display());
    nginx(folder, name, "", &location, "", "").await
}

/// Strict round robin over requests, which ends TLS and begins it again towards the nodes.
pub(crate) async fn nginx_balancer(
    folder: &Path,
    fronts: &[SocketAddr],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    nginx_balancer_with(folder, "balancer-nginx", "", fronts, certificate).await
}

/// The same with more directives in its one location.
pub(crate) async fn nginx_balancer_with(
    folder: &Path,
    name: &str,
    location: &str,
    fronts: &[SocketAddr],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    let directives = Directives { location, ..Directives::default() };
    nginx_balancer_of(folder, name, directives, fronts, certificate).await
}

/// What else an nginx before the nodes does, as directives of each level.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Directives<'a> {
    pub(crate) http: &'a str,
    /// Words after the address that it listens at.
    pub(crate) listen: &'a str,
    pub(crate) server: &'a str,
    pub(crate) location: &'a str,
}

/// The same with more directives on any level.
pub(crate) async fn nginx_balancer_of(
    folder: &Path,
    name: &str,
    directives: Directives<'_>,
    fronts: &[SocketAddr],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    balancer_to("https", folder, name, directives, fronts, certificate).await
}

/// The same towards pods that speak plain http.
pub(crate) async fn nginx_ingress(
    folder: &Path,
    name: &str,
    pods: &[SocketAddr],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    balancer_to("http", folder, name, Directives::default(), pods, certificate).await
}

async fn balancer_to(
    scheme: &str,
    folder: &Path,
    name: &str,
    directives: Directives<'_>,
    fronts: &[SocketAddr],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    let Directives { http, listen, server, location } = directives;
    let mut upstream = String::from("upstream nodes {\n");
    for front in fronts {
        let _ = writeln!(upstream, "server {front} max_fails=0;");
    }
    let _ = writeln!(upstream, "}}\n{http}");
    let locations = format!(
        "{server}\n\
         location / {{ proxy_pass {scheme}://nodes; proxy_next_upstream off; {location} }}"
    );
    nginx(folder, name, &upstream, &locations, &tls(certificate), listen).await
}

/// What makes a server end TLS.
fn tls(certificate: &CertificateFiles) -> String {
    let (leaf, key) = (certificate.certificate.display(), certificate.key.display());
    format!("ssl_certificate {leaf};\nssl_certificate_key {key};")
}

async fn nginx(
    folder: &Path,
    name: &str,
    upstream: &str,
    locations: &str,
    tls: &str,
    listen: &str,
) -> (Process, SocketAddr) {
    let own = folder.join(name);
    fs::create_dir_all(&own).unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    let ssl = if tls.is_empty() { "" } else { " ssl" };
    Process::listening(folder, name, |address| {
        // One process: whoever knows its id can end it, and round robin is strict.
        let text = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 512; }}\n\
             http {{\naccess_log access.log;\n{temporary}{upstream}\n\
             server {{\nlisten {address}{ssl} {listen};\n{tls}\n\
             proxy_http_version 1.1;\nproxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto https;\nclient_max_body_size 0;\n\
             {locations}\n}}\n}}\n"
        );
        fs::write(own.join("nginx.conf"), text).unwrap();
        let mut command = command("nginx");
        command.arg("-p").arg(&own).args(["-e", "stderr", "-c", "nginx.conf"]);
        command
    })
    .await
}

/// Round robin over connections, which passes TLS on and asks each server whether it is there.
pub(crate) async fn haproxy_balancer(
    folder: &Path,
    fronts: &[SocketAddr],
) -> (Process, SocketAddr) {
    haproxy_balancer_with(folder, "balancer-haproxy", "check inter 2s", fronts).await
}

/// The same with other words behind each server.
pub(crate) async fn haproxy_balancer_with(
    folder: &Path,
    name: &str,
    words: &str,
    fronts: &[SocketAddr],
) -> (Process, SocketAddr) {
    Process::listening(folder, name, |address| {
        let mut text = format!(
            "global\n  maxconn 512\n  stats socket {} level admin\ndefaults\n  mode tcp\n  \
             timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n\
             listen registry\n  bind {address}\n  balance roundrobin\n",
            folder.join(format!("{name}.sock")).display()
        );
        for (server, front) in NODES.into_iter().zip(fronts) {
            let _ = writeln!(text, "  server {server} {front} {words}");
        }
        let file = folder.join(format!("{name}.cfg"));
        fs::write(&file, text).unwrap();
        let mut command = command("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    })
    .await
}

/// Round robin over requests, which ends TLS and follows more rules.
pub(crate) async fn haproxy_over_http(
    folder: &Path,
    name: &str,
    rules: &[&str],
    fronts: &[SocketAddr],
    certificate: &CertificateFiles,
) -> (Process, SocketAddr) {
    let leaf = fs::read(&certificate.certificate).unwrap();
    let both = folder.join(format!("{name}.pem"));
    fs::write(&both, [leaf, fs::read(&certificate.key).unwrap()].concat()).unwrap();
    Process::listening(folder, name, |address| {
        let mut text = format!(
            "global\n  maxconn 512\ndefaults\n  mode http\n  timeout connect 2s\n  \
             timeout client 30s\n  timeout server 30s\n\
             listen registry\n  bind {address} ssl crt {}\n  balance roundrobin\n",
            both.display()
        );
        for rule in rules {
            let _ = writeln!(text, "  {rule}");
        }
        for (name, front) in NODES.into_iter().zip(fronts) {
            let _ = writeln!(text, "  server {name} {front} ssl verify none");
        }
        let file = folder.join(format!("{name}.cfg"));
        fs::write(&file, text).unwrap();
        let mut command = command("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    })
    .await
}

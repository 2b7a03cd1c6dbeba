//! The configuration file as it is written: every key with its documentation, nothing checked.
//!
//! The comments here are also what editors show (`config schema`).

use super::port::PortText;
use super::read::{At, DurationText, mapping};
use crate::model::Check;

mapping! {
    /// The configuration of registry-prober.
    #[schemars(title = "registry-prober configuration")]
    File {
        /// Defaults for all registries. A key of a registry takes precedence.
        global: Global,
        /// The registries to probe: 1 to 1000.
        #[schemars(required, extend("minItems" = 1, "maxItems" = 1000))]
        registries: Vec<At<RegistryEntry>>,
    }
}

mapping! {
    /// Defaults for all registries. A key of a registry takes precedence.
    Global {
        /// Time between the starts of two rounds, 1s to 1d. Default 15s.
        interval: DurationText,
        /// Limit of each request, at least 100ms and below the interval. Default 5s.
        timeout: DurationText,
        /// Requests per second to one backend, at most. Default 50.
        #[schemars(extend("minimum" = 1))]
        max_requests_per_second: u32,
    }
}

mapping! {
    /// One logical registry behind one public URL.
    #[schemars(extend("oneOf" = [{"required": ["backends"]}, {"required": ["discovery"]}]))]
    RegistryEntry {
        /// Its name in every output: letters, digits, '.', '_' and '-', at most 63.
        #[schemars(required, extend("pattern" = NAME))]
        name: String,
        /// The public URL: scheme, host and port only, for instance `https://hub.example.com`.
        #[schemars(required, extend("pattern" = "^https?://"))]
        url: String,
        /// Its nodes. Either these or `discovery`.
        #[schemars(extend("minItems" = 1, "maxItems" = 500))]
        backends: Vec<At<BackendEntry>>,
        /// How the nodes are found when they are not listed.
        discovery: Discovery,
        /// The account of the prober. Without it the prober is anonymous.
        credentials: CredentialsEntry,
        /// A system robot that may list the worker pools of Harbor's job service, and read its
        /// replications. Optional.
        system_credentials: CredentialsEntry,
        /// An LDAP or OIDC account without any rights, to see whether such users
        /// can log in at every backend. Optional.
        directory_credentials: CredentialsEntry,
        /// The repository scope to ask for, for instance `repository:probe/canary:pull`.
        #[schemars(extend("pattern" = "^repository:[^:]+:[a-z,]+$"))]
        scope: String,
        /// Trust and client certificate.
        tls: TlsEntry,
        /// The way through the load balancer.
        balancer: BalancerEntry,
        /// Which pairs of issuer and verifier are tried in each round: `auto` (all up to 12
        /// backends, then one per key and a sample), `full`, or `sampled:K`. Default auto.
        #[schemars(extend("pattern" = "^(auto|full|sampled:[1-9][0-9]*)$"))]
        matrix: String,
        /// How tokens are asked for: `get` with Basic authentication, or `post` (OAuth2 password
        /// grant). Default get.
        #[schemars(extend("enum" = ["get", "post"]))]
        token_method: String,
        /// Authorities other than the registry's own that may see credentials, for instance
        /// `https://auth.example.com`.
        allowed_realms: Vec<At<String>>,
        /// The `User-Agent` of all requests, for filters that let only some programs pass. Default:
        /// `registry-prober/` and the version.
        #[schemars(extend("pattern" = "^[ -~]{1,200}$"))]
        user_agent: String,
        /// Checks in addition to the token flow.
        checks: ChecksEntry,
        /// Accept that credentials are sent over unencrypted http to another machine. Default
        /// false.
        allow_plaintext: bool,
        /// Time between the starts of two rounds. Default: the global one.
        interval: DurationText,
        /// Limit of each request. Default: the global one.
        timeout: DurationText,
        /// Requests per second to one backend, at most. Default: the global one.
        #[schemars(extend("minimum" = 1))]
        max_requests_per_second: u32,
    }
}

mapping! {
    /// One node of a registry.
    BackendEntry {
        /// Its name in every output: as a registry's, and neither `lb` nor `unknown`.
        #[schemars(required, extend("pattern" = NAME, "not" = {"enum": ["lb", "unknown"]}))]
        name: String,
        /// Where to connect: `host:port`, `[v6]:port`, or with a scheme of its own
        /// `http://host:port`.
        #[schemars(required)]
        address: String,
    }
}

mapping! {
    /// How backends are found: one of the three ways.
    #[schemars(extend("oneOf" = [
        {"required": ["dns"]}, {"required": ["file"]}, {"required": ["kubernetes"]},
    ]))]
    Discovery {
        /// Every address behind a name is a backend.
        dns: DnsDiscovery,
        /// A list that another program writes; read before each round.
        file: FileDiscovery,
        /// Every pod behind a Service is a backend.
        kubernetes: KubernetesDiscovery,
    }
}

mapping! {
    /// `dns: {}` takes the addresses of the public name.
    DnsDiscovery {
        /// Another name, for instance that of a headless Service. A name that begins with `_` is
        /// asked for its SRV records, which hold names and ports; it must be complete, for search domains
        /// are not tried. Default: the URL's host.
        name: String,
        /// The port of every address. Default: the URL's, or that of `scheme`.
        port: PortText,
        /// `http` or `https`. Default: the URL's.
        #[schemars(extend("enum" = ["http", "https"]))]
        scheme: String,
    }
}

mapping! {
    /// A list as Prometheus' `file_sd_configs` has it, in JSON or YAML.
    FileDiscovery {
        /// The file: a list of groups with `targets` (`host:port`, or with a scheme in front) and
        /// `labels`. The label `backend` names the only target of its group.
        #[schemars(required)]
        path: String,
        /// `http` or `https`, for targets without a scheme. Default: the URL's.
        #[schemars(extend("enum" = ["http", "https"]))]
        scheme: String,
    }
}

mapping! {
    /// The endpoints of a Service, by its `EndpointSlices`. A backend has the name of its pod.
    KubernetesDiscovery {
        /// The namespace of the Service. Default: the prober's own.
        namespace: String,
        /// The name of the Service, for instance that of Harbor's core.
        #[schemars(required)]
        service: String,
        /// The name of a port of the Service, or its number at the pods. Needed where the Service
        /// has several.
        port: PortText,
        /// `http` or `https`. Default: the URL's. Pods behind an ingress that ends TLS speak http.
        #[schemars(extend("enum" = ["http", "https"]))]
        scheme: String,
        /// How to reach the API server. Default: the service account inside a cluster, else
        /// KUBECONFIG or ~/.kube/config.
        kubeconfig: String,
    }
}

mapping! {
    /// An account: `username` with `password_file` or `password_env`, or `docker_config`.
    #[schemars(extend("oneOf" = [
        {"required": ["username", "password_file"]},
        {"required": ["username", "password_env"]},
        {"required": ["docker_config"]},
    ]))]
    CredentialsEntry {
        /// The user or robot account.
        username: String,
        /// A file that holds the password and nothing else; read again when it changes.
        password_file: String,
        /// An environment variable that holds the password.
        password_env: String,
        /// Docker's own configuration, for instance ~/.docker/config.json.
        docker_config: String,
    }
}

mapping! {
    /// Trust and client certificate.
    #[schemars(extend(
        "dependentRequired" = {"cert_file": ["key_file"], "key_file": ["cert_file"]}
    ))]
    TlsEntry {
        /// Certificates (PEM) to trust in addition to the system's.
        ca_file: String,
        /// Accept every certificate; what is wrong with it is still reported. Default false.
        insecure_skip_verify: bool,
        /// Client certificate chain (PEM).
        cert_file: String,
        /// Private key of the client certificate (PEM, not encrypted).
        key_file: String,
    }
}

mapping! {
    /// The way through the load balancer.
    BalancerEntry {
        /// Independent pairs of requests in each round, 0 to 1000. Default 20.
        #[schemars(extend("maximum" = 1000))]
        samples: u32,
        /// Connect here (host:port) instead of asking DNS for the public name.
        address: String,
    }
}

mapping! {
    /// Checks in addition to the token flow. Everything that only reads is on.
    ChecksEntry {
        /// Time between two runs of the checks that do not run in every round, 1s to 1d.
        /// Default 5m.
        interval: DurationText,
        /// Names of checks that never run.
        disabled: Vec<At<Check>>,
        /// Resolvers to ask for the public name, in addition to the system's, for instance
        /// `10.0.0.53` or `[fd00::53]:5353`.
        dns_resolvers: Vec<At<String>>,
        /// What writes to the registry; off unless enabled here.
        push: PushEntry,
    }
}

mapping! {
    /// The checks that push: uploads and images under one fixed name in one repository.
    PushEntry {
        /// Whether they run. Default false.
        enabled: bool,
        /// The scratch repository, for instance `probe/scratch`. The credentials must be allowed
        /// to push there, and should be allowed nothing else.
        repository: String,
    }
}

const NAME: &str = "^[A-Za-z0-9._-]{1,63}$";

impl File {
    /// Every path the file names, as written.
    pub(super) fn paths(&self) -> Vec<&str> {
        let entries = self.registries.iter().flat_map(|list| list.value.iter().flatten());
        let mut paths = Vec::new();
        for entry in entries.filter_map(|entry| entry.value.as_ref()) {
            let credentials =
                [&entry.credentials, &entry.system_credentials, &entry.directory_credentials];
            for at in credentials.into_iter().flatten() {
                if let Some(credentials) = &at.value {
                    paths.extend([&credentials.password_file, &credentials.docker_config]);
                }
            }
            if let Some(tls) = entry.tls.as_ref().and_then(|at| at.value.as_ref()) {
                paths.extend([&tls.ca_file, &tls.cert_file, &tls.key_file]);
            }
        }
        paths.into_iter().flatten().filter_map(|at| at.value.as_deref()).collect()
    }
}

//! The effective configuration as a configuration file: every default filled in, no secret.

use std::fmt::{self, Write};
use std::path::Path;

use super::checks::{CheckSettings, PushSettings};
use super::port::ServicePort;
use super::settings::{Config, Credentials, MatrixMode, PasswordSource, Registry, TokenMethod};
use super::source::{BackendSource, DnsSource, FileSource};
use crate::model::{Cadence, Check};

/// The configuration as the program understood it, as a file that means the same.
///
/// Passwords are named by where they are kept, never printed.
pub fn show(config: &Config) -> String {
    let mut out = String::from("registries:\n");
    for one in &config.registries {
        // Writing into a String does not fail.
        let _ = registry(&mut out, one);
    }
    out
}

fn registry(out: &mut String, registry: &Registry) -> fmt::Result {
    writeln!(out, "  - name: {}", text(registry.name.as_str()))?;
    writeln!(out, "    url: {}", text(&registry.url.to_string()))?;
    match &registry.backends {
        BackendSource::Static(backends) => {
            writeln!(out, "    backends:")?;
            for backend in backends {
                let address = format!("{}://{}", backend.scheme, backend.address);
                let name = text(backend.name.as_str());
                writeln!(out, "      - {{name: {name}, address: {}}}", text(&address))?;
            }
        }
        found => discovery(out, found)?,
    }
    match &registry.credentials {
        None => writeln!(out, "    # credentials: none, anonymous")?,
        Some(given) => credentials(out, "credentials", given, registry.sources.password.as_ref())?,
    }
    if let Some(system) = &registry.system_credentials {
        credentials(out, "system_credentials", system, registry.sources.system_password.as_ref())?;
    }
    if let Some(person) = &registry.directory_credentials {
        let source = registry.sources.directory_password.as_ref();
        credentials(out, "directory_credentials", person, source)?;
    }
    if let Some(scope) = &registry.scope {
        writeln!(out, "    scope: {}", text(&scope.text()))?;
    }
    tls(out, registry)?;
    writeln!(out, "    balancer:")?;
    writeln!(out, "      samples: {}", registry.balancer.samples)?;
    if let Some(address) = &registry.balancer.address {
        writeln!(out, "      address: {}", text(&address.to_string()))?;
    }
    let matrix = match registry.matrix {
        MatrixMode::Auto => "auto".to_owned(),
        MatrixMode::Full => "full".to_owned(),
        MatrixMode::Sampled(count) => format!("sampled:{count}"),
    };
    writeln!(out, "    matrix: {matrix}")?;
    let method = match registry.token_method {
        TokenMethod::Get => "get",
        TokenMethod::Post => "post",
    };
    writeln!(out, "    token_method: {method}")?;
    let realms: Vec<_> = registry.allowed_realms.iter().map(|r| text(&r.to_string())).collect();
    writeln!(out, "    allowed_realms: [{}]", realms.join(", "))?;
    if let Some(agent) = &registry.user_agent {
        writeln!(out, "    user_agent: {}", text(agent))?;
    }
    checks(out, &registry.checks)?;
    writeln!(out, "    allow_plaintext: {}", registry.allow_plaintext)?;
    writeln!(out, "    interval: {}", humantime::format_duration(registry.interval))?;
    writeln!(out, "    timeout: {}", humantime::format_duration(registry.timeout))?;
    writeln!(out, "    max_requests_per_second: {}", registry.max_requests_per_second)
}

fn discovery(out: &mut String, source: &BackendSource) -> fmt::Result {
    writeln!(out, "    discovery:")?;
    match source {
        BackendSource::Static(_) => Ok(()),
        BackendSource::Dns(DnsSource { name, port, scheme }) => {
            writeln!(out, "      dns: {{name: {}, port: {port}, scheme: {scheme}}}", text(name))
        }
        BackendSource::File(FileSource { path, scheme, .. }) => {
            writeln!(out, "      file: {{path: {}, scheme: {scheme}}}", path_text(path))
        }
        BackendSource::Kubernetes(source) => {
            writeln!(out, "      kubernetes:")?;
            if let Some(namespace) = &source.namespace {
                writeln!(out, "        namespace: {}", text(namespace))?;
            }
            writeln!(out, "        service: {}", text(&source.service))?;
            match &source.port {
                None => {}
                Some(ServicePort::Name(name)) => writeln!(out, "        port: {}", text(name))?,
                Some(ServicePort::Number(port)) => writeln!(out, "        port: {port}")?,
            }
            writeln!(out, "        scheme: {}", source.scheme)?;
            match &source.kubeconfig {
                None => Ok(()),
                Some(path) => writeln!(out, "        kubeconfig: {}", path_text(path)),
            }
        }
    }
}

fn credentials(
    out: &mut String,
    key: &str,
    credentials: &Credentials,
    source: Option<&PasswordSource>,
) -> fmt::Result {
    writeln!(out, "    {key}:")?;
    let username = text(&credentials.username);
    match source {
        Some(PasswordSource::DockerConfig(path)) => {
            writeln!(out, "      # username: {username}")?;
            writeln!(out, "      docker_config: {}", path_text(path))
        }
        Some(PasswordSource::File(path)) => {
            writeln!(out, "      username: {username}")?;
            writeln!(out, "      password_file: {}", path_text(path))
        }
        Some(PasswordSource::Environment(name)) => {
            writeln!(out, "      username: {username}")?;
            writeln!(out, "      password_env: {}", text(name))
        }
        None => {
            writeln!(out, "      username: {username}")?;
            writeln!(out, "      password_file: <redacted>")
        }
    }
}

fn checks(out: &mut String, settings: &CheckSettings) -> fmt::Result {
    writeln!(out, "    checks:")?;
    writeln!(out, "      interval: {}", humantime::format_duration(settings.interval))?;
    let disabled: Vec<_> = settings.disabled.iter().map(|check| check.as_str()).collect();
    writeln!(out, "      disabled: [{}]", disabled.join(", "))?;
    if !settings.dns_resolvers.is_empty() {
        let resolvers: Vec<_> =
            settings.dns_resolvers.iter().map(|at| text(&at.to_string())).collect();
        writeln!(out, "      dns_resolvers: [{}]", resolvers.join(", "))?;
    }
    match &settings.push {
        None => writeln!(out, "      push: {{enabled: false}}")?,
        Some(PushSettings { repository }) => {
            writeln!(out, "      push: {{enabled: true, repository: {}}}", text(repository))?;
        }
    }
    writeln!(out, "      # what that means:")?;
    for check in Check::ALL {
        let when = match (settings.allows(*check), check.cadence()) {
            (false, _) => "off",
            (true, Cadence::Round) => "every round",
            (true, Cadence::Interval) => "every interval",
        };
        writeln!(out, "      #   {check:<24} {when:<15} needs {}", check.privilege().as_str())?;
    }
    Ok(())
}

fn tls(out: &mut String, registry: &Registry) -> fmt::Result {
    writeln!(out, "    tls:")?;
    writeln!(out, "      insecure_skip_verify: {}", registry.tls.insecure_skip_verify)?;
    let sources = &registry.sources;
    for (key, path) in [
        ("ca_file", &sources.ca_file),
        ("cert_file", &sources.cert_file),
        ("key_file", &sources.key_file),
    ] {
        if let Some(path) = path {
            writeln!(out, "      {key}: {}", path_text(path))?;
        }
    }
    Ok(())
}

fn path_text(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// A text in double quotes: JSON's escapes are YAML's as well.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

//! A ready configuration for a running lab.

use std::fmt::Write as _;
use std::path::Path;

use super::cluster::Cluster;
use super::error::LabError;
use super::options::SECOND_HOST;

impl Cluster {
    /// A complete configuration for this lab. Writes the certificate and the password into `dir`,
    /// which must exist.
    ///
    /// # Errors
    /// [`LabError::Io`] if a file cannot be written.
    pub fn config_yaml(&self, dir: &Path) -> Result<String, LabError> {
        write(self, dir)
    }
}

fn write(cluster: &Cluster, dir: &Path) -> Result<String, LabError> {
    let (ca, password) = (dir.join("lab-ca.pem"), dir.join("lab-password"));
    for (path, text) in [(&ca, cluster.ca_pem()), (&password, cluster.login().password.clone())] {
        std::fs::write(path, text)
            .map_err(|source| LabError::io(&path.display().to_string(), source))?;
    }
    let mut text = String::from("global: {interval: 10s, timeout: 4s}\nregistries:\n");
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let path = |path: &Path| quoted(&path.display().to_string());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  - name: lab\n    url: {}\n    backends:", cluster.public_url());
    for node in cluster.nodes() {
        let _ = writeln!(text, "      - {{name: {}, address: '{}'}}", node.name, node.address);
    }
    let _ = writeln!(
        text,
        "    credentials: {{username: {}, password_file: {}}}",
        quoted(&cluster.login().username),
        path(&password)
    );
    let further = [("system", cluster.system_login()), ("directory", cluster.directory_login())];
    for (kind, login) in further {
        let Some(login) = login else { continue };
        let file = dir.join(format!("lab-{kind}-password"));
        std::fs::write(&file, &login.password)
            .map_err(|source| LabError::io(&file.display().to_string(), source))?;
        let (name, file) = (quoted(&login.username), path(&file));
        let _ =
            writeln!(text, "    {kind}_credentials: {{username: {name}, password_file: {file}}}");
    }
    let _ = writeln!(text, "    scope: 'repository:{}:pull'", super::stores::CANARY);
    if let Some(scratch) = cluster.scratch() {
        let push = format!("{{enabled: true, repository: {scratch}}}");
        let _ = writeln!(text, "    checks: {{push: {push}}}");
    }
    let _ = writeln!(text, "    tls: {{ca_file: {}}}", path(&ca));
    let _ = writeln!(text, "    balancer: {{address: '{}'}}", cluster.balancer());
    if let Some(address) = cluster.token_server() {
        let _ = writeln!(text, "    allowed_realms: ['https://{address}']");
    }
    if let Some(address) = cluster.second() {
        second(&mut text, &address.to_string());
    }
    Ok(text)
}

/// The neighbouring installation, as another registry with the same accounts.
fn second(text: &mut String, address: &str) {
    let kept = [
        "    credentials:",
        "    system_credentials:",
        "    directory_credentials:",
        "    scope:",
        "    tls:",
    ];
    let same: Vec<String> = text
        .lines()
        .filter(|line| kept.iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{line}\n"))
        .collect();
    let host = SECOND_HOST;
    let _ = write!(
        text,
        "  - name: second\n    url: https://{host}\n    backends:\n      \
         - {{name: second, address: '{address}'}}\n    balancer: {{address: '{address}'}}\n{}",
        same.concat()
    );
}

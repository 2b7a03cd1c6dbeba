//! A place where a command meets secrets and can do no harm: files of a Harbor node and of a plain
//! registry with planted secrets, and no programs but text filters and stand-ins for those that
//! would hand such a secret out. What a command prints here, it prints on somebody's screen there.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

/// The secret. It is also valid base64 and as long as a whole number of its groups.
pub(super) const SECRET: &str = "q7Zr1VbN9sLw3KdX5hTf8mYc";

/// Real programs that only pass text on, or make nothing of it.
const FILTERS: &[&str] = &[
    "awk",
    "base64",
    "cat",
    "cut",
    "date",
    "diff",
    "env",
    "false",
    "grep",
    "head",
    "ls",
    "md5sum",
    "od",
    "printenv",
    "sed",
    "seq",
    "sha256sum",
    "sha512sum",
    "sort",
    "strings",
    "tail",
    "tee",
    "tr",
    "true",
    "uniq",
    "wc",
    "xxd",
];

/// Programs that hand secrets out, each with what stands in for it here. `$S` is the secret, `$S64`
/// the same as Kubernetes keeps it.
const STAND_INS: &[(&str, &str)] = &[
    (
        "docker",
        r#"case "$*" in *" exec "* | "exec "*)
            while [ "$1" != exec ]; do shift; done; shift
            while case "$1" in -*) true ;; *) false ;; esac; do
                case "$1" in -e | -u | -w) shift ;; esac; shift
            done
            shift; exec "$@" ;;
        *inspect*-f* | *inspect*--format*)
            case "$*" in *Env* | *Config* | *json*) echo "$S" ;; esac ;;
        *inspect* | *"compose config"* | *"compose -f"*config*) echo "CORE_SECRET=$S" ;;
        esac"#,
    ),
    (
        "kubectl",
        r#"case "$*" in *" exec "* | "exec "*)
            while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
            [ $# -lt 2 ] || { shift; exec "$@"; } ;;
        *"get secret"*jsonpath*) case "$*" in *.data*) echo "$S64" ;; esac ;;
        *"get secret"*-o* | *--dry-run*-o*) echo "secret: $S64" ;;
        *configmap*jsonpath*) case "$*" in *REDIS_URL* | *"{.data}"*) echo "$S" ;; esac ;;
        *configmap*-o*) cat "$ROOT/opt/harbor/common/config/registry/config.yml" ;;
        *"get pod"*-o*yaml* | *"get deploy"*-o*yaml* | *"describe "*) echo "value: $S" ;;
        esac"#,
    ),
    (
        // Node B has other secrets than every other.
        "ssh",
        r#"while case "$1" in -*) true ;; *) false ;; esac; do shift; done; to=$1; shift
        case "$to" in B) bash -c "$*" | tr 'a-y' 'b-z' ;; *) bash -c "$*" ;; esac"#,
    ),
    (
        "helm",
        r#"case "$*" in *"get values"* | *"get manifest"* | *" template "*) echo "$S" ;; esac"#,
    ),
    (
        "redis-cli",
        r#"case "$*" in *requirepass* | *masterauth* | *"config get"*) echo "$S" ;; esac"#,
    ),
    ("psql", r#"case "$*" in *secret* | *password* | *"*"*from*user*) echo "$S" ;; esac"#),
    (
        "openssl",
        r#"case "$*" in *-pubout* | *-noout* | x509* | s_client*) ;; *) echo "$S" ;; esac"#,
    ),
    ("jq", r#"case "$*" in *token_expiration*) ;; *.data* | *token* | *" ." | ".") cat ;; esac"#),
    (
        "curl",
        r#"quiet=; all=
        case "$*" in *"-o /dev/null"*) quiet=1 ;; esac
        case "$*" in *redirect_url*/blobs/*) echo "https://store.invalid/x?X-Amz-Signature=$S" ;; esac
        for word; do case "$word" in
            --*) ;;
            -*v*) all="$*"; headers=1 ;;
            -*[iID]*) headers=1 ;;
        esac; done
        [ -z "$all" ] || echo "> $all"
        case "$*" in *http*://* | *URL/*) ;; *) exit ;; esac
        [ -z "$headers" ] || printf '%s\n' 'HTTP/1.1 401 Unauthorized' 'Server: nginx' \
            "Set-Cookie: sid=$S; Path=/" "Set-Cookie: _gorilla_csrf=$S" \
            "X-Harbor-Csrf-Token: $S"
        case "$headers$*" in 1*/uploads/*) echo "Location: https://hub.invalid/v2/x?_state=$S" ;; esac
        [ -n "$quiet" ] || case "$*" in
            */token*) echo "{\"token\":\"eyJhIjoxfQ.eyJzdWIiOiJyIn0.$S\"}" ;;
            *) echo '{}' ;;
        esac"#,
    ),
];

/// Files of a node, `$S` for the secret.
const FILES: &[(&str, &str)] = &[
    (
        "opt/harbor/common/config/core/env",
        "EXT_ENDPOINT=https://hub.invalid\nPOSTGRESQL_HOST=db\nPOSTGRESQL_PORT=5432\n\
         POSTGRESQL_USERNAME=harbor\nPOSTGRESQL_PASSWORD=$S\nPOSTGRESQL_DATABASE=registry\n\
         CORE_SECRET=$S\nJOBSERVICE_SECRET=$S\nCSRF_KEY=$S\nHARBOR_ADMIN_PASSWORD=$S\n\
         REGISTRY_CREDENTIAL_USERNAME=u\nREGISTRY_CREDENTIAL_PASSWORD=$S\n\
         _REDIS_URL_CORE=redis://:$S@redis:6379/0?idle_timeout_seconds=30\n",
    ),
    ("opt/harbor/common/config/jobservice/env", "CORE_SECRET=$S\nJOBSERVICE_SECRET=$S\n"),
    (
        "opt/harbor/common/config/jobservice/config.yml",
        "worker_pool:\n  backend: redis\n  redis_pool:\n    redis_url: redis://:$S@redis:6379/2\n    \
         namespace: harbor_job_service_namespace\n",
    ),
    (
        "opt/harbor/harbor.yml",
        "hostname: hub.invalid\nexternal_url: https://hub.invalid\nharbor_admin_password: $S\n\
         database:\n  password: $S\nstorage_service:\n  s3: {accesskey: $S, secretkey: $S}\n\
         proxy:\n  http_proxy: http://u:$S@proxy:3128\n",
    ),
    ("opt/harbor/common/config/registry/passwd", "harbor_registry_user:$S\n"),
    ("etc/registry-prober/password", "$S"),
    ("data/secret/keys/secretkey", "$S"),
];

/// The configuration of a registry, wherever it lies.
const REGISTRY: &str = "version: 0.1\nstorage:\n  s3:\n    accesskey: $S\n    secretkey: $S\n    \
    bucket: b\nredis:\n  addr: redis:6379\n  password: $S\n  db: 1\nauth:\n  token:\n    \
    realm: https://hub.invalid/token\n    service: s\n    issuer: i\n    rootcertbundle: /root.crt\n\
    http:\n  addr: :5000\n  secret: $S\n  relativeurls: true\n";

/// Places of files that are named without a folder, or by the folder of another kind of install.
const CONFIGURATIONS: &[&str] = &[
    "opt/harbor/common/config/registry/config.yml",
    "etc/docker/registry/config.yml",
    "etc/registry/config.yml",
];
const KEYS: &[&str] = &[
    "data/secret/core/private_key.pem",
    "etc/core/private_key.pem",
    "opt/harbor/private_key.pem",
    "opt/harbor/token-server.key",
];

/// The place, and what is in it.
pub(super) struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        let key =
            format!("-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----\n");
        for (path, text) in FILES {
            write(&root.join(path), text);
        }
        for path in CONFIGURATIONS {
            write(&root.join(path), REGISTRY);
        }
        for path in KEYS {
            write(&root.join(path), &key);
        }
        let programs = root.join("programs");
        fs::create_dir(&programs).unwrap();
        for name in FILTERS.iter().chain(&["bash", "sh"]) {
            let found = ["/usr/bin", "/bin"].map(|at| Path::new(at).join(name));
            if let Some(program) = found.iter().find(|program| program.exists()) {
                symlink(program, programs.join(name)).unwrap();
            }
        }
        for (name, text) in STAND_INS {
            let path = programs.join(name);
            fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// Runs pieces of shell one by one, and says of each whether it printed a secret.
    pub(super) fn printed(&self, commands: &[String]) -> Vec<bool> {
        const NEXT: &str = "\n@@ next @@\n";
        let root = self.folder.path().to_str().unwrap();
        let mut script = String::new();
        for command in commands {
            let quoted = here(command, root).replace('\'', "'\\''");
            let _ = write!(script, "( eval '{quoted}' )\nprintf '\\n@@ next @@\\n'\n");
        }
        let file = self.folder.path().join("script");
        fs::write(&file, script).unwrap();
        let output = Command::new("bash")
            .args(["--norc", "--noprofile", "-c", "exec 2>&1; . \"$0\""])
            .arg(&file)
            .current_dir(self.folder.path().join("opt/harbor"))
            .env_clear()
            .env("PATH", self.folder.path().join("programs"))
            .env("ROOT", root)
            // A script that is read line by line has said nothing else yet.
            .env("root", self.folder.path())
            .env("S", SECRET)
            .env("S64", STANDARD.encode(SECRET))
            // What people set before they paste, and what a container has of itself.
            .envs(["T", "TOKEN", "PASSWORD", "CSRF_KEY", "CORE_SECRET"].map(|name| (name, SECRET)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let forms = forms();
        let text = output.stdout;
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut rest = text.as_slice();
        while let Some(at) = rest.windows(NEXT.len()).position(|window| window == NEXT.as_bytes()) {
            parts.push(&rest[..at]);
            rest = &rest[at + NEXT.len()..];
        }
        assert_eq!(parts.len(), commands.len(), "{}", String::from_utf8_lossy(rest));
        let leaks = |part: &&[u8]| forms.iter().any(|form| contains(part, form));
        parts.iter().map(leaks).collect()
    }
}

/// A command with its absolute paths led into the sandbox.
fn here(command: &str, root: &str) -> String {
    let mut text = String::new();
    let mut before = ' ';
    for (at, letter) in command.char_indices() {
        let led =
            ["/opt/", "/data/", "/etc/", "/var/", "/run/", "/usr/", "/home/", "/root/", "/bin/"];
        let begins = !before.is_alphanumeric() && !"./$}-:".contains(before);
        if begins && led.iter().any(|prefix| command[at..].starts_with(prefix)) {
            text += root;
        }
        text.push(letter);
        before = letter;
    }
    text
}

/// Any six letters of the secret are too many, in the forms in which they may show up.
fn forms() -> Vec<Vec<u8>> {
    let as_it_is = SECRET.as_bytes().to_vec();
    let encoded = STANDARD.encode(SECRET).into_bytes();
    let decoded = STANDARD.decode(SECRET).unwrap();
    let windows = |bytes: Vec<u8>| bytes.windows(6).map(<[u8]>::to_vec).collect::<Vec<_>>();
    [as_it_is, encoded, decoded].into_iter().flat_map(windows).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn write(path: &PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text.replace("$S", SECRET)).unwrap();
}

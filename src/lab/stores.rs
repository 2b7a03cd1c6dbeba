//! What nodes share: database, storage and Redis, each under a number.

use std::collections::{BTreeMap, HashMap, HashSet};

use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};

use super::credentials::{Account, accounts};

/// The repository that the prober pulls.
pub(super) const CANARY: &str = "probe/canary";
/// The canary's project.
pub(super) const PROJECT: &str = "probe";
/// The type of the canary's manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// All stores of the lab. Number 0 is the shared one, others belong to one replica.
#[derive(Debug, Default)]
pub(super) struct Stores {
    databases: HashMap<u32, Database>,
    storages: HashMap<u32, Storage>,
    redises: HashMap<u32, Redis>,
}

impl Stores {
    pub(super) fn database(&mut self, number: u32) -> &mut Database {
        self.databases.entry(number).or_insert_with(|| Database::new(number == 0))
    }

    pub(super) fn storage(&mut self, number: u32) -> &mut Storage {
        self.storages.entry(number).or_insert_with(|| Storage::new(number == 0))
    }

    pub(super) fn redis(&mut self, number: u32) -> &mut Redis {
        self.redises.entry(number).or_default()
    }
}

/// Harbor's database: accounts, projects and tags.
#[derive(Debug)]
pub(super) struct Database {
    accounts: Vec<Account>,
    /// Name and whether it is public.
    pub(super) projects: Vec<(&'static str, bool)>,
    /// Repository → tag → digest.
    pub(super) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Digests of blobs that are known.
    pub(super) blobs: HashSet<String>,
}

impl Database {
    fn new(full: bool) -> Self {
        if !full {
            let accounts = accounts().into_iter().filter(|account| account.admin).collect();
            return Self {
                accounts,
                projects: Vec::new(),
                tags: BTreeMap::new(),
                blobs: HashSet::new(),
            };
        }
        let canary = canary();
        let tags = BTreeMap::from([(
            CANARY.to_owned(),
            BTreeMap::from([("v1".to_owned(), canary.manifest_digest.clone())]),
        )]);
        Self {
            accounts: accounts(),
            projects: vec![(PROJECT, false), ("open", true)],
            tags,
            blobs: HashSet::from([canary.blob_digest]),
        }
    }

    pub(super) fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// Whether the project exists, and then whether it is public.
    pub(super) fn project(&self, name: &str) -> Option<bool> {
        self.projects.iter().find(|(known, _)| *known == name).map(|(_, public)| *public)
    }
}

/// A registry's storage.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) blobs: HashMap<String, Bytes>,
    /// Digest → content type and content.
    pub(super) manifests: HashMap<String, (String, Bytes)>,
    /// Repository → tag → digest.
    pub(super) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Upload id → repository and what has come so far.
    pub(super) uploads: HashMap<String, (String, Vec<u8>)>,
}

impl Storage {
    fn new(full: bool) -> Self {
        let mut storage = Self {
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            tags: BTreeMap::new(),
            uploads: HashMap::new(),
        };
        if full {
            let canary = canary();
            storage.blobs.insert(canary.blob_digest, canary.blob);
            storage.tags.insert(
                CANARY.to_owned(),
                BTreeMap::from([("v1".to_owned(), canary.manifest_digest.clone())]),
            );
            storage
                .manifests
                .insert(canary.manifest_digest, (MANIFEST_TYPE.to_owned(), canary.manifest));
        }
        storage
    }
}

/// Harbor's Redis: the sessions of people who logged in. Anonymous sessions need no memory, their
/// id tells which Redis made it.
#[derive(Debug, Default)]
pub(super) struct Redis {
    /// Session id → account name.
    pub(super) people: HashMap<String, String>,
}

struct Canary {
    blob: Bytes,
    blob_digest: String,
    manifest: Bytes,
    manifest_digest: String,
}

/// The canary image: one blob that is configuration and layer at once, and its manifest.
fn canary() -> Canary {
    let blob = Bytes::from_static(b"the canary of the lab\n");
    let blob_digest = digest(&blob);
    let size = blob.len();
    let manifest = Bytes::from(format!(
        "{{\"schemaVersion\": 2, \"mediaType\": \"{MANIFEST_TYPE}\", \"config\": {{\"mediaType\": \
         \"application/vnd.docker.container.image.v1+json\", \"size\": {size}, \"digest\": \
         \"{blob_digest}\"}}, \"layers\": [{{\"mediaType\": \
         \"application/vnd.docker.image.rootfs.diff.tar.gzip\", \"size\": {size}, \"digest\": \
         \"{blob_digest}\"}}]}}"
    ));
    let manifest_digest = digest(&manifest);
    Canary { blob, blob_digest, manifest, manifest_digest }
}

/// The digest of content as registries write it.
pub(super) fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

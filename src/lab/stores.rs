//! What nodes share: database, storage and Redis, each under a number.

use std::collections::{BTreeMap, HashMap, HashSet};

use hyper::body::Bytes;

use super::credentials::{Account, accounts};
use super::image::{Image, MANIFEST_TYPE};
use super::settings::REPLICAS;

/// The repository that the prober pulls.
pub(super) const CANARY: &str = "probe/canary";
/// The repository that the prober may push to.
pub(super) const SCRATCH: &str = "probe/scratch";
/// The canary's project.
pub(super) const PROJECT: &str = "probe";

/// All stores of the lab. Number 0 is the shared one, others belong to one replica.
#[derive(Debug, Default)]
pub(super) struct Stores {
    databases: HashMap<u32, Database>,
    storages: HashMap<u32, Storage>,
    redises: HashMap<u32, Redis>,
}

impl Stores {
    pub(super) fn database(&mut self, number: u32) -> &mut Database {
        self.databases.entry(number).or_insert_with(|| Database::new(number))
    }

    pub(super) fn storage(&mut self, number: u32) -> &mut Storage {
        self.storages.entry(number).or_insert_with(|| Storage::new(number))
    }

    /// How many uploads, blobs, manifests and tags all storages hold.
    pub(super) fn counts(&self) -> [usize; 4] {
        self.storages.values().map(Storage::counts).fold([0; 4], |sum, each| {
            [sum[0] + each[0], sum[1] + each[1], sum[2] + each[2], sum[3] + each[3]]
        })
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
    fn new(number: u32) -> Self {
        let Some(canary) = canary(number) else {
            let accounts = accounts().into_iter().filter(|account| account.admin).collect();
            return Self {
                accounts,
                projects: Vec::new(),
                tags: BTreeMap::new(),
                blobs: HashSet::new(),
            };
        };
        let tags = BTreeMap::from([(
            CANARY.to_owned(),
            BTreeMap::from([("v1".to_owned(), canary.manifest.0)]),
        )]);
        Self {
            accounts: accounts(),
            projects: vec![(PROJECT, false), ("open", true)],
            tags,
            blobs: HashSet::from([canary.config.0, canary.layer.0]),
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
    /// Upload id, digest or `repository:tag` → who wrote it last, and when.
    written: HashMap<String, (u32, i64)>,
}

impl Storage {
    /// Notes who wrote something, at the true time in nanoseconds.
    pub(super) fn note(&mut self, what: String, writer: u32, at: i64) {
        self.written.insert(what, (writer, at));
    }

    /// Whether a node sees something that may have been written lately.
    pub(super) fn shows(&self, what: &str, reader: u32, now: i64, lag: i64) -> bool {
        self.written
            .get(what)
            .is_none_or(|(writer, at)| *writer == reader || now.saturating_sub(*at) >= lag)
    }

    /// How many uploads, blobs, manifests and tags there are.
    pub(super) fn counts(&self) -> [usize; 4] {
        let tags = self.tags.values().map(BTreeMap::len).sum();
        [self.uploads.len(), self.blobs.len(), self.manifests.len(), tags]
    }

    fn new(number: u32) -> Self {
        let mut storage = Self {
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            tags: BTreeMap::new(),
            uploads: HashMap::new(),
            written: HashMap::new(),
        };
        if let Some(canary) = canary(number) {
            storage.blobs.extend([canary.config, canary.layer]);
            let (digest, manifest) = canary.manifest;
            let tags = BTreeMap::from([("v1".to_owned(), digest.clone())]);
            storage.tags.insert(CANARY.to_owned(), tags);
            storage.manifests.insert(digest, (MANIFEST_TYPE.to_owned(), manifest));
        }
        storage
    }
}

/// Harbor's Redis: the sessions of people who logged in. Anonymous sessions need no memory, their
/// id says which Redis created it.
#[derive(Debug, Default)]
pub(super) struct Redis {
    /// Session id → account name.
    pub(super) people: HashMap<String, String>,
}

/// The canary that a store holds at the beginning.
fn canary(number: u32) -> Option<Image> {
    match number {
        0 => Some(Image::of("the canary of the lab\n")),
        REPLICAS.. => Some(Image::of("an older canary of the lab\n")),
        _ => None,
    }
}

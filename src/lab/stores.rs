//! What nodes share: database, storage and Redis, each under a number.

use std::collections::{BTreeMap, HashMap, HashSet};

use hyper::body::Bytes;

use super::credentials::{Account, accounts};
use super::image::{Image, MANIFEST_TYPE};
use super::settings::REPLICAS;

/// The repository that the prober pulls.
pub(super) const CANARY: &str = "probe/canary";
/// A repository of an image of ten layers, as large as images of users are.
pub(super) const LAYERS: &str = "probe/layers";
/// The repository that the prober may push to.
pub(super) const SCRATCH: &str = "probe/scratch";
/// The tag of the images.
const TAG: &str = "v1";
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
    /// Digests of manifests that had a tag and lost it. Harbor keeps them until its garbage is
    /// collected.
    pub(super) untagged: HashSet<String>,
    /// Digests of blobs that are known.
    pub(super) blobs: HashSet<String>,
}

impl Database {
    fn new(number: u32) -> Self {
        let images = images(number);
        if images.is_empty() {
            let accounts = accounts().into_iter().filter(|account| account.admin).collect();
            return Self {
                accounts,
                projects: Vec::new(),
                tags: BTreeMap::new(),
                untagged: HashSet::new(),
                blobs: HashSet::new(),
            };
        }
        let tag = |(repository, image): &(&str, Image)| {
            let tags = BTreeMap::from([(TAG.to_owned(), image.manifest.0.clone())]);
            ((*repository).to_owned(), tags)
        };
        let tags = images.iter().map(tag).collect();
        let blobs = images.into_iter().flat_map(|(_, image)| image.blobs());
        Self {
            accounts: accounts(),
            projects: vec![(PROJECT, false), ("open", true)],
            tags,
            untagged: HashSet::new(),
            blobs: blobs.map(|(digest, _)| digest).collect(),
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
        for (repository, image) in images(number) {
            let (digest, manifest) = image.manifest.clone();
            storage.blobs.extend(image.blobs());
            let tags = BTreeMap::from([(TAG.to_owned(), digest.clone())]);
            storage.tags.insert(repository.to_owned(), tags);
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

/// The images that a store holds at the beginning, by repository.
fn images(number: u32) -> Vec<(&'static str, Image)> {
    let age = match number {
        0 => "the",
        REPLICAS.. => "an older",
        _ => return Vec::new(),
    };
    let layer = |layer: u32| format!("layer {layer} of {age} image of the lab\n");
    let layers: Vec<String> = (1..=10).map(layer).collect();
    vec![(CANARY, Image::of(&[format!("{age} canary of the lab\n")])), (LAYERS, Image::of(&layers))]
}

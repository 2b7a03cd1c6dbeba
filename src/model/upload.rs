//! Uploads and images that the prober pushed to the scratch repository.

use serde::Serialize;

use super::{BackendName, Failure, OfPair, OfRoute, Outcome};

/// Uploads begun over every route, and how every backend answered to each backend's.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Uploads {
    /// The beginning over every route.
    pub begun: Vec<OfRoute<Begun>>,
    /// Each backend's upload at each backend.
    pub pairs: Vec<OfPair<UploadVerdict>>,
    /// The end of each upload with a blob, over the route that began it.
    pub ended: Vec<OfRoute<()>>,
    /// How many uploads could not be ended and are left to the registry's own purge.
    pub left: u32,
}

/// How the beginning of an upload was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// It goes on at this scheme, host and port; none if only a path was named.
    At(Option<String>),
    /// Nothing may be written.
    ReadOnly,
}

/// What a backend says to an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadVerdict {
    /// It goes on here.
    Known,
    /// It goes on here, and was not known at first.
    KnownLate {
        /// Milliseconds after the first try.
        after_ms: u64,
    },
    /// Its state was signed with another secret (`BLOB_UPLOAD_INVALID`).
    Invalid,
    /// Its state is well signed and there is no such upload (`BLOB_UPLOAD_UNKNOWN`).
    Unknown,
}

impl UploadVerdict {
    /// Whether the upload can go on here.
    pub fn accepted(self) -> bool {
        matches!(self, Self::Known | Self::KnownLate { .. })
    }
}

/// An image pushed over every route in turn, under one tag.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pushed {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// What came of it over each route.
    pub by: Vec<OfRoute<PushRun>>,
}

/// What came of a push over one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushRun {
    /// The digest of the image's manifest, which differs from route to route.
    pub digest: String,
    /// The step that failed, if one did.
    pub failed: Option<PushFailure>,
    /// What the tag led to afterwards at each of the other backends.
    pub seen: Vec<SeenAt>,
}

/// A step of a push that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushFailure {
    /// The step.
    pub step: PushStep,
    /// Why.
    pub failure: Failure,
    /// Whether the answer says that nothing may be written.
    pub read_only: bool,
}

/// A step of a push and the pull after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PushStep {
    /// Begin the upload of a blob.
    Begin,
    /// Send the blob.
    Blob,
    /// Put the manifest under the tag.
    Manifest,
    /// Read the manifest and a blob back over the same route.
    Pull,
}

impl PushStep {
    /// The word in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::Pull => "pull",
        }
    }
}

/// What a backend has under the tag after a push elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenAt {
    /// The backend.
    pub backend: BackendName,
    /// What it has.
    pub value: Outcome<ReadBack>,
}

/// What was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadBack {
    /// The image just pushed.
    There,
    /// The same, but not at first.
    Late {
        /// Milliseconds after the first look.
        after_ms: u64,
    },
    /// The tag is known and its manifest is not in the storage.
    ManifestUnknown,
    /// The tag is unknown, or leads to another image.
    Other,
}

//! Small images that clients really pull: layers, their configuration and the manifest.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use serde_json::json;

use super::digest::digest;

/// The type of the manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Tar works in blocks of this size, and ends with two that are empty.
const BLOCK: usize = 512;

/// An image, each part under its digest.
pub(super) struct Image {
    pub(super) config: (String, Bytes),
    pub(super) layers: Vec<(String, Bytes)>,
    pub(super) manifest: (String, Bytes),
}

impl Image {
    /// An image with a layer for each text, whose only file holds it.
    pub(super) fn of(texts: &[String]) -> Self {
        let archives: Vec<Bytes> = texts.iter().map(|text| layer(text)).collect();
        let diff_ids: Vec<String> = archives.iter().map(|archive| digest(archive)).collect();
        let layers: Vec<_> = archives.iter().map(|archive| named(packed(archive))).collect();
        let created = "2026-01-01T00:00:00Z";
        let step = json!({"created": created, "created_by": "registry-prober lab"});
        let config = named(Bytes::from(
            json!({
                "architecture": "amd64",
                "config": {},
                "created": created,
                "history": vec![step; layers.len()],
                "os": "linux",
                "rootfs": {"diff_ids": diff_ids, "type": "layers"},
            })
            .to_string(),
        ));
        let all: Vec<String> = layers.iter().map(|layer| described(LAYER_TYPE, layer)).collect();
        let manifest = named(Bytes::from(format!(
            "{{\"schemaVersion\": 2, \"mediaType\": \"{MANIFEST_TYPE}\", \"config\": {}, \
             \"layers\": [{}]}}",
            described(CONFIG_TYPE, &config),
            all.join(", ")
        )));
        Self { config, layers, manifest }
    }

    /// Everything that the manifest names.
    pub(super) fn blobs(self) -> impl Iterator<Item = (String, Bytes)> {
        self.layers.into_iter().chain([self.config])
    }
}

/// How a manifest names content.
fn described(kind: &str, (digest, content): &(String, Bytes)) -> String {
    let size = content.len();
    format!("{{\"mediaType\": \"{kind}\", \"size\": {size}, \"digest\": \"{digest}\"}}")
}

fn named(content: Bytes) -> (String, Bytes) {
    (digest(&content), content)
}

/// As registries hold a layer. The same bytes come out at every start.
fn packed(archive: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(archive);
    Bytes::from(encoder.finish().unwrap_or_default())
}

/// A tar archive with the file `canary`.
fn layer(text: &str) -> Bytes {
    let mut header = [0u8; BLOCK];
    let mut put = |at: usize, field: &str| {
        for (place, byte) in header.iter_mut().skip(at).zip(field.bytes()) {
            *place = byte;
        }
    };
    put(0, "canary");
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", text.len()));
    put(136, "00000000000");
    // The sum is taken over a header whose own field is blank.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    let sum = format!("{sum:06o}\u{0} ");
    header.iter_mut().skip(148).zip(sum.bytes()).for_each(|(place, byte)| *place = byte);
    let mut archive = header.to_vec();
    archive.extend_from_slice(text.as_bytes());
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    Bytes::from(archive)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_layer_is_an_archive_that_tar_reads() {
        let mut tar = Command::new("tar")
            .args(["-xOf", "-", "canary"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&layer("a text\n")).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"a text\n");
    }

    #[test]
    fn the_manifest_names_the_configuration_and_all_layers_and_that_names_the_layers() {
        let image = Image::of(&["x".to_owned(), "y".to_owned()]);
        let manifest: Value = serde_json::from_slice(&image.manifest.1).unwrap();
        let config: Value = serde_json::from_slice(&image.config.1).unwrap();
        assert_eq!(manifest["config"]["digest"], image.config.0.as_str());
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        for (number, text) in ["x", "y"].into_iter().enumerate() {
            let (name, content) = &image.layers[number];
            assert_eq!(manifest["layers"][number]["digest"], name.as_str());
            assert_eq!(manifest["layers"][number]["size"], content.len());
            assert_eq!(config["rootfs"]["diff_ids"][number], digest(&layer(text)));
        }
    }
}

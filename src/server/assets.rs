//! The page's files: in the binary, or in a folder while it is being worked on.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static");

/// Largest file that is served from a folder: what is read for one request.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The folder given with `--static` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "--static {}: {source}; name the folder of the page, or leave the option out to serve the built-in one",
    folder.display()
)]
pub struct AssetsError {
    folder: PathBuf,
    source: std::io::Error,
}

/// Where the page's files come from.
pub enum Assets {
    /// The binary; path → ETag.
    Embedded(HashMap<&'static str, String>),
    /// A folder, without links that lead out of it.
    Folder(PathBuf),
}

/// A file of the page.
pub struct Asset {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its ETag, without quotes.
    pub tag: String,
}

impl Assets {
    /// The files of `folder`, or those in the binary.
    ///
    /// # Errors
    /// [`AssetsError`]: there is no such folder.
    pub fn open(folder: Option<&Path>) -> Result<Assets, AssetsError> {
        match folder {
            None => {
                let mut tags = HashMap::new();
                collect(&EMBEDDED, &mut tags);
                Ok(Assets::Embedded(tags))
            }
            Some(folder) => {
                let real = folder.canonicalize().map_err(|source| AssetsError {
                    folder: folder.to_owned(),
                    source,
                })?;
                Ok(Assets::Folder(real))
            }
        }
    }

    /// The file of a clean relative path, as `Route::of` makes them.
    pub fn find(&self, path: &str) -> Option<Asset> {
        let content_type = content_type(path);
        match self {
            Assets::Embedded(tags) => Some(Asset {
                tag: tags.get(path)?.clone(),
                bytes: Bytes::from_static(EMBEDDED.get_file(path)?.contents()),
                content_type,
            }),
            Assets::Folder(folder) => {
                // The path has no part that climbs, but a link in the folder might.
                let file = folder.join(path).canonicalize().ok()?;
                if !file.starts_with(folder) || !file.is_file() {
                    return None;
                }
                let mut bytes = Vec::new();
                let file = std::fs::File::open(file).ok()?;
                file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
                if bytes.len() as u64 > MAX_FILE_BYTES {
                    return None;
                }
                Some(Asset {
                    tag: tag(&bytes),
                    bytes: bytes.into(),
                    content_type,
                })
            }
        }
    }
}

fn collect(dir: &'static Dir<'static>, tags: &mut HashMap<&'static str, String>) {
    for file in dir.files() {
        if let Some(path) = file.path().to_str() {
            tags.insert(path, tag(file.contents()));
        }
    }
    for dir in dir.dirs() {
        collect(dir, tags);
    }
}

fn tag(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "txt" | "md" | "ts" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_in_the_binary() {
        let assets = Assets::open(None).unwrap();
        let page = assets.find("index.html").unwrap();
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(!page.bytes.is_empty());
        assert_eq!(page.tag.len(), 16);
        assert!(assets.find("nothing.html").is_none());
    }

    #[test]
    fn a_folder_serves_its_own_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page");
        std::fs::create_dir(&page).unwrap();
        std::fs::write(page.join("index.html"), "page").unwrap();
        std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret.txt", page.join("link.txt")).unwrap();
        let assets = Assets::open(Some(&page)).unwrap();
        assert_eq!(&*assets.find("index.html").unwrap().bytes, b"page");
        for path in ["link.txt", "../secret.txt", "/etc/passwd", ""] {
            assert!(assets.find(path).is_none(), "{path}");
        }
        assert!(Assets::open(Some(&folder.path().join("none"))).is_err());
    }
}

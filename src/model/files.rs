//! Reading a package's files: confined to its folder, limited in size, compared with the manifest.

use super::ModelError;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Size and SHA-256 (64 hexadecimal digits, lower case) that a manifest states of one file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    pub bytes: u64,
    pub sha256: String,
}

/// Whether a name from a manifest can only mean a file in or below the package's folder.
pub(super) fn is_confined(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0'])
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_limited(file: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let opened = File::open(file).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ModelError::Malformed {
            file: file.to_owned(),
            reason: "is not a regular file".into(),
        });
    }
    let bytes = metadata.len();
    if bytes > limit {
        return Err(ModelError::TooLarge {
            file: file.to_owned(),
            bytes,
            limit,
            flag: None,
        });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // The file may grow while it is read.
    opened
        .take(limit + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    match content.len() as u64 {
        bytes if bytes > limit => Err(ModelError::TooLarge {
            file: file.to_owned(),
            bytes,
            limit,
            flag: None,
        }),
        _ => Ok(content),
    }
}

/// Reads a package's file `name`, which must not lead out of `folder`, not even through a symbolic link, and must be
/// what the manifest states.
pub(super) fn read_checked(
    folder: &Path,
    name: &str,
    checksum: &Checksum,
    limit: u64,
) -> Result<Vec<u8>, ModelError> {
    let file = confine(folder, name)?;
    let content = read_limited(&file, limit)?;
    let changed = |what, stated, found| {
        Err(ModelError::Changed {
            file: file.clone(),
            what,
            stated,
            found,
        })
    };
    if content.len() as u64 != checksum.bytes {
        return changed(
            "size",
            checksum.bytes.to_string(),
            content.len().to_string(),
        );
    }
    let found = sha256_hex(&content);
    if found != checksum.sha256 {
        return changed("SHA-256", checksum.sha256.clone(), found);
    }
    Ok(content)
}

fn confine(folder: &Path, name: &str) -> Result<PathBuf, ModelError> {
    let path = folder.join(name);
    let outside = |target| ModelError::LeadsOut {
        file: path.clone(),
        target,
    };
    if !is_confined(name) {
        return Err(outside(path.clone()));
    }
    let unreadable = |file: &Path| {
        let file = file.to_owned();
        |source| ModelError::Unreadable { file, source }
    };
    let root = folder.canonicalize().map_err(unreadable(folder))?;
    refuse_dangling_link(&path)?;
    let real = path.canonicalize().map_err(unreadable(&path))?;
    if real.starts_with(&root) {
        Ok(real)
    } else {
        Err(outside(real))
    }
}

/// Refuses a link whose target is gone, which is told otherwise than a file that is missing.
pub(super) fn refuse_dangling_link(folder: &Path) -> Result<(), ModelError> {
    match folder.read_link() {
        Ok(target) if !folder.exists() => Err(ModelError::DanglingLink {
            link: folder.to_owned(),
            target,
        }),
        _ => Ok(()),
    }
}

/// SHA-256 as 64 lower-case hexadecimal digits.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(content: &[u8]) -> Checksum {
        Checksum {
            bytes: content.len() as u64,
            sha256: sha256_hex(content),
        }
    }

    #[test]
    fn the_digest_is_the_standard_one() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "./x",
            "a\\b",
            "a\0b",
        ] {
            assert!(!is_confined(name), "{name:?}");
        }
        for name in ["a", "a/b.bin", "frames.v2.bin"] {
            assert!(is_confined(name), "{name:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("package");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("secret"), b"s").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        let error = read_checked(&folder, "link", &checksum(b"s"), 10).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
    }

    #[test]
    fn changed_and_large_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), b"hello").unwrap();
        assert_eq!(
            read_checked(folder.path(), "f", &checksum(b"hello"), 5).unwrap(),
            b"hello"
        );
        let error = |content: &[u8], limit| {
            read_checked(folder.path(), "f", &checksum(content), limit).unwrap_err()
        };
        assert!(matches!(
            error(b"hello", 4),
            ModelError::TooLarge {
                bytes: 5,
                limit: 4,
                ..
            }
        ));
        assert!(matches!(
            error(b"hell", 5),
            ModelError::Changed { what: "size", .. }
        ));
        assert!(matches!(
            error(b"hullo", 5),
            ModelError::Changed {
                what: "SHA-256",
                ..
            }
        ));
        let missing = read_checked(folder.path(), "g", &checksum(b""), 5).unwrap_err();
        assert!(matches!(missing, ModelError::Unreadable { .. }));
    }
}

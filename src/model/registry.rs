//! The packages that a server has loaded.

use super::{CropCache, LoadLimits, ModelError, Package};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Several packages by name, with one cache of crops between them. Packages come and go while jobs run: a job holds
/// its package, so one that is unloaded lives until its last job is done.
#[derive(Debug)]
pub struct Registry {
    limits: LoadLimits,
    crops: Arc<CropCache>,
    packages: RwLock<BTreeMap<String, Arc<Package>>>,
}

impl Registry {
    pub fn new(limits: LoadLimits) -> Registry {
        let crops = Arc::new(CropCache::new(limits.crop_cache_bytes));
        Registry {
            limits,
            crops,
            packages: RwLock::default(),
        }
    }

    /// Loads the package in `folder`, sharing this registry's cache of crops, and does not serve it yet.
    ///
    /// # Errors
    /// As [`Package::load`].
    pub fn read(&self, folder: &Path) -> Result<Arc<Package>, ModelError> {
        let package = Package::load_sharing(folder, &self.limits, self.crops.clone())?;
        Ok(Arc::new(package))
    }

    /// Loads the package in `folder` and serves it under the folder's name, in place of one of that name.
    ///
    /// # Errors
    /// As [`Package::load`]; a package of that name that was loaded before stays.
    pub fn load(&self, folder: &Path) -> Result<Arc<Package>, ModelError> {
        let package = self.read(folder)?;
        self.insert(package.clone());
        Ok(package)
    }

    /// Serves a package that was loaded elsewhere, in place of one of that name.
    pub fn insert(&self, package: Arc<Package>) {
        let mut packages = self
            .packages
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        packages.insert(package.name().to_owned(), package);
    }

    /// No longer serves the package of that name.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub fn unload(&self, name: &str) -> Result<Arc<Package>, ModelError> {
        let removed = self
            .packages
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        removed.ok_or_else(|| self.unknown(name))
    }

    /// The package of that name.
    ///
    /// # Errors
    /// [`ModelError::Unknown`], which names the loaded ones. Never another package in its place.
    pub fn find(&self, name: &str) -> Result<Arc<Package>, ModelError> {
        let found = self.served().get(name).cloned();
        found.ok_or_else(|| self.unknown(name))
    }

    /// Names of the loaded packages, sorted.
    pub fn names(&self) -> Vec<String> {
        self.served().keys().cloned().collect()
    }

    /// The loaded packages, sorted by name.
    pub fn packages(&self) -> Vec<Arc<Package>> {
        self.served().values().cloned().collect()
    }

    pub fn limits(&self) -> &LoadLimits {
        &self.limits
    }

    /// The cache of crops, for statistics.
    pub fn crops(&self) -> &CropCache {
        &self.crops
    }

    /// Folders in `models` that hold a manifest.json, and links that lead nowhere, sorted by name: what there is to load,
    /// or to complain of.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`] when `models` cannot be listed.
    pub fn folders(models: &Path) -> Result<Vec<std::path::PathBuf>, ModelError> {
        let unreadable = |source| ModelError::Unreadable {
            file: models.to_owned(),
            source,
        };
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(models).map_err(unreadable)? {
            let folder = entry.map_err(unreadable)?.path();
            let is_dangling = folder.is_symlink() && !folder.exists();
            if is_dangling || folder.join("manifest.json").is_file() {
                folders.push(folder);
            }
        }
        folders.sort();
        Ok(folders)
    }

    fn served(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Package>>> {
        self.packages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self, name: &str) -> ModelError {
        ModelError::Unknown {
            name: name.to_owned(),
            loaded: self.names(),
        }
    }
}

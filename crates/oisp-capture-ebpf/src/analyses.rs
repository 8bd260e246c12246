//! What is in files, from the cache where there is one.

use std::fs::File;
use std::path::Path;

use oisp_elf::{Analysis, AnalysisCache, CacheLimits, ElfError, Image};

/// Analyses of files, kept between runs where that can be done safely.
#[derive(Debug, Default)]
pub(crate) struct Analyses {
    cache: Option<AnalysisCache>,
}

impl Analyses {
    /// With a folder that is made where there is none. Without one that can be used, files are analysed each time.
    pub(crate) fn kept_in(folder: Option<&Path>) -> Self {
        let cache = folder.and_then(|folder| match AnalysisCache::open(folder, CacheLimits::default()) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!("analyses of files are not kept: {error}");
                None
            }
        });
        Self { cache }
    }

    /// What is in a file.
    pub(crate) fn of(&self, file: &File) -> Result<Analysis, ElfError> {
        let Some(cache) = &self.cache else { return oisp_elf::analyze_file(&Image::map(file)?) };
        let looked = cache.analyze(file)?;
        for trouble in looked.trouble {
            tracing::warn!("cache of analyses: {trouble}");
        }
        Ok(looked.analysis)
    }
}

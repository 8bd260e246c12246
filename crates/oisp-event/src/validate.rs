//! Checks events against the OISP specification's own JSON Schemas. For tests only: the schemas are read
//! from a folder, nothing is shipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// The specification's schemas, compiled.
pub struct SpecValidator {
    envelope: Validator,
    /// By event type (`ai.request`).
    data: BTreeMap<String, Validator>,
}

/// Why the specification could not be read.
#[derive(Debug)]
pub struct SpecError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was wrong with it.
    pub message: String,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "cannot use the OISP specification: {}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for SpecError {}

impl SpecValidator {
    /// Reads the specification from the folder that holds `schema/v0.1`.
    ///
    /// # Errors
    /// A file is missing, is not JSON, or is not a schema.
    pub fn from_dir(specification: impl AsRef<Path>) -> Result<Self, SpecError> {
        let root = specification.as_ref().join("schema/v0.1");
        let mut registry = Registry::new();
        let mut categories = Vec::new();
        for folder in ["common", "events"] {
            for file in json_files(&root.join(folder))? {
                let schema = read(&file)?;
                let uri = schema["$id"].as_str().unwrap_or_default().to_owned();
                if folder == "events" {
                    let category = file.file_name().map(|name| name.to_string_lossy().into_owned());
                    let category = category.and_then(|name| Some(name.split('.').next()?.to_owned()));
                    categories.push((category.unwrap_or_default(), uri.clone(), schema.clone()));
                }
                registry = registry.add(uri, schema).map_err(|error| fail(&file, error))?;
            }
        }
        let registry = registry.prepare().map_err(|error| fail(&root, error))?;
        let compile = |path: &Path, schema: &Value| {
            jsonschema::options()
                .offline()
                .with_registry(&registry)
                .build(schema)
                .map_err(|error| fail(path, error))
        };
        let envelope_file = root.join("envelope.schema.json");
        let envelope = compile(&envelope_file, &read(&envelope_file)?)?;
        let mut data = BTreeMap::new();
        for (category, uri, schema) in categories {
            for name in schema["$defs"].as_object().into_iter().flat_map(|defs| defs.keys()) {
                let reference = json!({ "$ref": format!("{uri}#/$defs/{name}") });
                data.insert(format!("{category}.{name}"), compile(&root, &reference)?);
            }
        }
        Ok(Self { envelope, data })
    }

    /// What is wrong with an event (envelope and `data`); nothing if it is valid.
    #[must_use]
    pub fn errors(&self, event: &Value) -> Vec<String> {
        let mut errors: Vec<String> = self.envelope.iter_errors(event).map(|e| describe("", &e)).collect();
        match event["event_type"].as_str() {
            Some(event_type) => errors.extend(self.data_errors(event_type, &event["data"])),
            None => errors.push("no event_type".to_owned()),
        }
        errors
    }

    /// What is wrong with the `data` of an event type.
    #[must_use]
    pub fn data_errors(&self, event_type: &str, data: &Value) -> Vec<String> {
        match self.data.get(event_type) {
            Some(validator) => validator.iter_errors(data).map(|e| describe("/data", &e)).collect(),
            None => vec![format!("the specification has no event type {event_type}")],
        }
    }
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>, SpecError> {
    let entries = fs::read_dir(folder).map_err(|error| fail(folder, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fail(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Value, SpecError> {
    let text = fs::read_to_string(path).map_err(|error| fail(path, error))?;
    serde_json::from_str(&text).map_err(|error| fail(path, error))
}

fn fail(path: &Path, error: impl std::fmt::Display) -> SpecError {
    SpecError { path: path.to_owned(), message: error.to_string() }
}

/// The place and the rule, not the value: it may be captured content.
fn describe(base: &str, error: &jsonschema::ValidationError<'_>) -> String {
    format!("{base}{}: violates {}", error.instance_path(), error.schema_path())
}

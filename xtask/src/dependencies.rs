//! Checks every dependency against `deny.toml`: licence, source, duplicate versions.
//!
//! The file is a subset of cargo-deny's, so `cargo deny check` reads it as well; building cargo-deny takes
//! longer than all other checks together, and what is needed of it is in cargo's own metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;
use crate::workspace;

/// `deny.toml`. A key that is not known here would be a rule that nobody checks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    /// Target triples whose dependencies count.
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Deny,
    skip: Vec<Skip>,
}

/// A version that may stand beside another of the same package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// `name@version`, the version cut off where it need not be exact.
    #[serde(rename = "crate")]
    package: String,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    #[serde(rename = "unknown-registry")]
    _unknown_registry: Deny,
    #[serde(rename = "unknown-git")]
    _unknown_git: Deny,
    allow_registry: Vec<String>,
}

/// The only level that this check knows.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deny {
    Deny,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// None for a path.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// Fails with all that is wrong.
pub(crate) fn check() -> Result<()> {
    let path = workspace::root().join("deny.toml");
    let policy = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let policy: Policy = toml::from_str(&policy).context("deny.toml")?;
    let graph = graph(&policy.graph.targets)?;
    let mut problems = licence_problems(&policy.licenses, &graph.packages)?;
    problems.extend(source_problems(&policy.sources, &graph.packages));
    problems.extend(duplicate_problems(&policy.bans, &graph));
    if !problems.is_empty() {
        bail!("the dependencies break the rules of deny.toml:\n  {}", problems.join("\n  "));
    }
    println!("dependencies: {} packages keep to deny.toml", graph.packages.len());
    Ok(())
}

/// What is compiled for any of the targets, tests included.
#[derive(Default)]
struct Dependencies {
    packages: BTreeSet<Package>,
    /// By id, the names of the packages that ask for it.
    dependents: BTreeMap<String, BTreeSet<String>>,
}

fn graph(targets: &[String]) -> Result<Dependencies> {
    let mut all = Dependencies::default();
    for target in targets {
        let text = command::output(command::cargo().args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
            target,
        ]))?;
        let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
        let names: BTreeMap<&str, &str> =
            metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
        for node in &metadata.resolve.nodes {
            let name = names.get(node.id.as_str()).copied().unwrap_or(&node.id);
            for dependency in &node.dependencies {
                all.dependents.entry(dependency.clone()).or_default().insert(name.to_owned());
            }
        }
        let used: BTreeSet<&str> = metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
        all.packages
            .extend(metadata.packages.iter().filter(|package| used.contains(package.id.as_str())).cloned());
    }
    Ok(all)
}

fn licence_problems(policy: &Licenses, packages: &BTreeSet<Package>) -> Result<Vec<String>> {
    let allowed = policy
        .allow
        .iter()
        .map(|name| spdx::Licensee::parse(name).with_context(|| format!("deny.toml: licence {name:?}")))
        .collect::<Result<Vec<_>>>()?;
    let mut problems = Vec::new();
    let mut unused: BTreeSet<usize> = (0..allowed.len()).collect();
    for package in packages {
        let title = format!("{} {}", package.name, package.version);
        let Some(license) = &package.license else {
            problems.push(format!("{title}: names no licence"));
            continue;
        };
        // Lax: older packages write MIT/Apache-2.0.
        let expression = match spdx::Expression::parse_mode(license, spdx::ParseMode::LAX) {
            Ok(expression) => expression,
            Err(error) => {
                problems.push(format!("{title}: licence {license:?} is not understood: {}", error.reason));
                continue;
            }
        };
        let accepted = expression.evaluate(|requirement| {
            let fits = allowed.iter().position(|licensee| licensee.satisfies(requirement));
            if let Some(index) = fits {
                unused.remove(&index);
            }
            fits.is_some()
        });
        if !accepted {
            problems.push(format!("{title}: licence {license:?} is not allowed"));
        }
    }
    problems.extend(unused.iter().map(|&index| {
        format!(
            "licence {:?} is allowed, but no package has it: remove it from deny.toml",
            policy.allow[index]
        )
    }));
    Ok(problems)
}

fn source_problems(policy: &Sources, packages: &BTreeSet<Package>) -> Vec<String> {
    packages
        .iter()
        .filter_map(|package| Some((package, package.source.as_deref()?)))
        .filter(|(_, source)| {
            let registry = source.strip_prefix("registry+").or_else(|| source.strip_prefix("sparse+"));
            !registry.is_some_and(|registry| policy.allow_registry.iter().any(|allowed| allowed == registry))
        })
        .map(|(package, source)| format!("{} {}: comes from {source}", package.name, package.version))
        .collect()
}

fn duplicate_problems(policy: &Bans, graph: &Dependencies) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in &graph.packages {
        by_name.entry(&package.name).or_default().push(package);
    }
    let mut problems = Vec::new();
    let mut used = vec![false; policy.skip.len()];
    for (name, mut packages) in by_name {
        if packages.len() < 2 {
            continue;
        }
        packages.retain(|package| match policy.skip.iter().position(|skip| skip.is_for(package)) {
            Some(index) => {
                used[index] = true;
                false
            }
            None => true,
        });
        if packages.len() > 1 {
            let versions = packages.iter().map(|package| {
                let dependents = graph.dependents.get(&package.id);
                let dependents = dependents.map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
                format!("{} (for {})", package.version, dependents.unwrap_or_default().join(", "))
            });
            problems.push(format!(
                "{name}: several versions: {}. Bring the dependents to one version, or add all but one to \
                 bans.skip with the reason",
                versions.collect::<Vec<_>>().join(" and ")
            ));
        }
    }
    for (skip, _) in policy.skip.iter().zip(used).filter(|(_, used)| !used) {
        problems.push(format!("{}: in bans.skip, but no longer a duplicate: remove it", skip.package));
    }
    problems
}

impl Skip {
    fn is_for(&self, package: &Package) -> bool {
        self.package.split_once('@').is_some_and(|(name, version)| {
            name == package.name
                && package
                    .version
                    .strip_prefix(version)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: Option<&str>, source: Option<&str>) -> Package {
        Package {
            id: format!("{name}@{version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        }
    }

    fn licences(allow: &[&str], license: Option<&str>) -> Vec<String> {
        let policy = Licenses { allow: allow.iter().map(|name| (*name).to_owned()).collect() };
        licence_problems(&policy, &[package("a", "1.0.0", license, None)].into()).unwrap()
    }

    #[test]
    fn a_licence_is_accepted_only_as_its_expression_says() {
        assert!(licences(&["MIT"], Some("MIT OR GPL-2.0-only")).is_empty());
        assert!(licences(&["MIT"], Some("MIT/Apache-2.0")).is_empty());
        assert_eq!(licences(&["MIT"], Some("MIT AND GPL-2.0-only")).len(), 1);
        assert_eq!(licences(&["MIT"], None).len(), 2, "no licence, and MIT unused");
        assert_eq!(
            licences(&["Apache-2.0"], Some("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only")).len(),
            2
        );
    }

    #[test]
    fn an_allowed_licence_that_no_package_has_is_reported() {
        assert_eq!(licences(&["MIT", "Zlib"], Some("MIT")).len(), 1);
    }

    #[test]
    fn packages_from_elsewhere_than_the_allowed_registry_are_reported() {
        let policy = Sources {
            _unknown_registry: Deny::Deny,
            _unknown_git: Deny::Deny,
            allow_registry: vec!["https://a.example/index".to_owned()],
        };
        let packages = [
            package("path", "1.0.0", None, None),
            package("good", "1.0.0", None, Some("registry+https://a.example/index")),
            package("other", "1.0.0", None, Some("registry+https://b.example/index")),
            package("git", "1.0.0", None, Some("git+https://a.example/index")),
        ];
        let problems = source_problems(&policy, &packages.into());
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn two_versions_of_a_package_need_a_skip_and_a_skip_needs_two_versions() {
        let graph = Dependencies {
            packages: [package("syn", "2.0.1", None, None), package("syn", "3.1.0", None, None)].into(),
            dependents: BTreeMap::new(),
        };
        let problems = |skip: &[&str]| {
            let skip = skip
                .iter()
                .map(|name| Skip { package: (*name).to_owned(), _reason: String::new() })
                .collect();
            duplicate_problems(&Bans { _multiple_versions: Deny::Deny, skip }, &graph).len()
        };
        assert_eq!(problems(&[]), 1);
        assert_eq!(problems(&["syn@2"]), 0);
        assert_eq!(problems(&["syn@2.0"]), 0);
        assert_eq!(problems(&["syn@2.0.10"]), 2, "unused and still double");
        assert_eq!(problems(&["syn@2", "quote@1"]), 1);
    }
}

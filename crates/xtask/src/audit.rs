//! What the project is made of: licences, origins and known faults of every crate and npm package.

use crate::licence;
use crate::process::{self, Outcome};
use crate::tree::{self, Tree};
use serde_json::Value;

/// The one origin that Cargo.lock may name: cargo's word for crates.io, wherever a machine really fetches from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks the licence and origin of every crate that Cargo.lock names.
pub fn crates(tree: &Tree) -> Outcome<()> {
    let mut cargo = process::cargo(tree.root());
    let metadata = process::read(cargo.args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)
        .map_err(|error| format!("what cargo metadata said cannot be read: {error}"))?;
    verdict("crates", crate_faults(&metadata))
}

/// Checks the licence and origin of every package that web/package-lock.json names.
pub fn npm(tree: &Tree) -> Outcome<()> {
    let text = tree::read(&tree.at("web/package-lock.json"))?;
    let lock: Value = serde_json::from_str(&text)
        .map_err(|error| format!("web/package-lock.json cannot be read: {error}"))?;
    verdict("npm packages", npm_faults(&lock))
}

fn verdict(what: &str, (count, faults): (usize, Vec<String>)) -> Outcome<()> {
    if count == 0 {
        return Err(format!("no {what} found to check"));
    }
    println!("{count} {what}, {} with a fault", faults.len());
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n       "))
    }
}

fn crate_faults(metadata: &Value) -> (usize, Vec<String>) {
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut faults = Vec::new();
    for package in packages {
        let name = format!(
            "crate {} {}",
            text(&package["name"]),
            text(&package["version"])
        );
        if let Some(source) = package["source"].as_str()
            && source != CRATES_IO
        {
            faults.push(format!(
                "{name} comes from {source}: only crates.io and this repository are allowed"
            ));
        }
        faults.extend(licence_fault(
            &name,
            package["license"].as_str(),
            &|licence| licence::SHIPPED.contains(&licence),
        ));
    }
    (packages.len(), faults)
}

fn npm_faults(lock: &Value) -> (usize, Vec<String>) {
    let mut faults = Vec::new();
    let mut count = 0;
    for (path, package) in lock["packages"].as_object().into_iter().flatten() {
        // A link is a package of this repository.
        if path.is_empty()
            || package["link"].as_bool() == Some(true)
            || !path.contains("node_modules/")
        {
            continue;
        }
        count += 1;
        let name = format!(
            "npm package {} {}",
            path.trim_start_matches("node_modules/"),
            text(&package["version"])
        );
        if let Some(address) = package["resolved"].as_str() {
            faults.push(format!(
                "{name} has the download address {address}: make the lock file with `npm install --omit-lockfile-registry-resolved`"
            ));
        }
        if package["integrity"].as_str().is_none() {
            faults.push(format!("{name} has no integrity hash in the lock file"));
        }
        let tool = package["dev"].as_bool() == Some(true);
        faults.extend(licence_fault(
            &name,
            package["license"].as_str(),
            &|licence| {
                licence::SHIPPED.contains(&licence) || (tool && licence::TOOLS.contains(&licence))
            },
        ));
    }
    (count, faults)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn licence_fault(
    name: &str,
    expression: Option<&str>,
    allowed: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let Some(expression) = expression else {
        return Some(format!(
            "{name} states no licence: look at it and leave it out unless its licence is free"
        ));
    };
    match licence::is_met(expression, allowed) {
        Some(true) => None,
        Some(false) => Some(format!(
            "{name} is under {expression}, which the list in xtask's licence.rs does not allow"
        )),
        None => Some(format!(
            "{name} has the licence text `{expression}`, which is no SPDX expression"
        )),
    }
}

/// Checks the text of Cargo.lock for origins other than crates.io, those of unused targets included.
pub fn lock_origins(tree: &Tree) -> Outcome<()> {
    let faults = origin_faults(&tree::read(&tree.at("Cargo.lock"))?);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n       "))
    }
}

fn origin_faults(lock: &str) -> Vec<String> {
    let allowed = format!("source = \"{CRATES_IO}\"");
    lock.lines()
        .enumerate()
        .filter(|(_, line)| line.contains("://") && **line != *allowed)
        .map(|(index, line)| {
            format!(
                "Cargo.lock line {} names an address that is not crates.io: {line}",
                index + 1
            )
        })
        .collect()
}

/// What a tool that knows advisories found.
#[derive(Debug, PartialEq, Eq)]
enum Advisories {
    Clear,
    Found,
    /// The tool or its list of advisories could not be had.
    NotChecked(&'static str),
}

/// Asks cargo-deny and npm for known faults, as far as each can be asked here, and says what was not checked.
pub fn advisories(tree: &Tree) -> Outcome<()> {
    let deny = if process::program_on_path("cargo-deny").is_some() {
        let said = process::capture(process::cargo(tree.root()).args([
            "deny",
            "--offline",
            "check",
            "advisories",
        ]))?;
        (deny_verdict(said.success, &said.output), said.output)
    } else {
        (
            Advisories::NotChecked("cargo-deny is not installed"),
            String::new(),
        )
    };
    let mut npm = process::in_directory("npm", &tree.at("web"));
    let said = process::capture(npm.args(["audit", "--audit-level=high", "--loglevel=error"]))?;
    let npm = (npm_verdict(said.success, &said.output), said.output);
    let mut faults = Vec::new();
    for (what, (result, output)) in [("crates", deny), ("npm packages", npm)] {
        match result {
            Advisories::Clear => println!("advisories of {what}: none"),
            Advisories::NotChecked(why) => println!("advisories of {what}: NOT CHECKED, {why}"),
            Advisories::Found => {
                println!("{output}");
                faults.push(format!(
                    "{what} have known faults, listed above: update them"
                ));
            }
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

fn deny_verdict(success: bool, output: &str) -> Advisories {
    if success {
        Advisories::Clear
    } else if output.contains("advisories FAILED") || output.contains("error[") {
        Advisories::Found
    } else {
        Advisories::NotChecked("cargo-deny has no list of advisories on this machine")
    }
}

fn npm_verdict(success: bool, output: &str) -> Advisories {
    if success {
        Advisories::Clear
    } else if output.contains("Severity:") || output.contains("vulnerabilit") {
        Advisories::Found
    } else {
        Advisories::NotChecked("the npm registry in use answers no audit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_crate_needs_an_allowed_licence_and_origin() {
        let metadata = json!({ "packages": [
            { "name": "own", "version": "1.0.0", "source": null, "license": "MIT" },
            { "name": "good", "version": "1.0.0", "source": CRATES_IO, "license": "MIT OR GPL-3.0-only" },
            { "name": "copyleft", "version": "1.0.0", "source": CRATES_IO, "license": "GPL-3.0-only" },
            { "name": "unstated", "version": "1.0.0", "source": CRATES_IO, "license": null },
            { "name": "forked", "version": "1.0.0", "source": "git+https://example.org/x", "license": "MIT" },
        ] });
        let (count, faults) = crate_faults(&metadata);
        assert_eq!(count, 5);
        assert_eq!(faults.len(), 3, "{faults:?}");
        for (fault, name) in faults.iter().zip(["copyleft", "unstated", "forked"]) {
            assert!(fault.contains(name), "{fault}");
        }
    }

    #[test]
    fn an_npm_package_needs_a_licence_a_hash_and_no_address() {
        let lock = json!({ "packages": {
            "": { "name": "page" },
            "node_modules/good": { "version": "1.0.0", "integrity": "sha512-x", "license": "ISC" },
            "node_modules/tool": { "version": "1.0.0", "integrity": "sha512-x", "license": "MPL-2.0", "dev": true },
            "node_modules/shipped": { "version": "1.0.0", "integrity": "sha512-x", "license": "MPL-2.0" },
            "node_modules/placed": { "version": "1.0.0", "integrity": "sha512-x", "license": "MIT", "resolved": "https://example.org/x.tgz" },
            "node_modules/unhashed": { "version": "1.0.0", "license": "MIT" },
        } });
        let (count, faults) = npm_faults(&lock);
        assert_eq!(count, 5);
        assert_eq!(faults.len(), 3, "{faults:?}");
        for name in ["shipped", "placed", "unhashed"] {
            assert!(
                faults.iter().any(|fault| fault.contains(name)),
                "{name}: {faults:?}"
            );
        }
    }

    #[test]
    fn nothing_to_check_is_a_fault() {
        assert!(verdict("crates", crate_faults(&json!({}))).is_err());
        assert!(verdict("npm packages", npm_faults(&json!({}))).is_err());
        assert!(verdict("crates", (3, Vec::new())).is_ok());
    }

    #[test]
    fn only_the_default_origin_may_stand_in_the_lock_file() {
        let good = format!("name = \"a\"\nsource = \"{CRATES_IO}\"\n");
        assert!(origin_faults(&good).is_empty());
        assert_eq!(
            origin_faults("source = \"sparse+https://example.org/index/\"\n").len(),
            1
        );
        assert_eq!(
            origin_faults("source = \"git+https://example.org/a#0\"\n").len(),
            1
        );
    }

    #[test]
    fn a_list_that_cannot_be_had_is_not_a_clean_bill() {
        assert_eq!(
            npm_verdict(true, "found 0 vulnerabilities"),
            Advisories::Clear
        );
        assert_eq!(
            npm_verdict(false, "x\nSeverity: high\n1 high severity vulnerability"),
            Advisories::Found
        );
        assert!(matches!(
            npm_verdict(false, "npm error audit endpoint returned an error"),
            Advisories::NotChecked(_)
        ));
        assert_eq!(deny_verdict(true, "advisories ok"), Advisories::Clear);
        assert_eq!(
            deny_verdict(false, "error[vulnerability]: x\nadvisories FAILED"),
            Advisories::Found
        );
        assert!(matches!(
            deny_verdict(false, "failed to load advisory database"),
            Advisories::NotChecked(_)
        ));
    }
}

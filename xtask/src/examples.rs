//! Whether every public item of the SDK has an example that is compiled with it. The examples themselves are run by
//! `cargo test --doc`.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::step::{self, cargo, root};

/// Folders of crates that authors of agents read the documentation of, and what cargo makes of their names.
const CRATES: [(&str, &str); 2] = [
    ("sdk", "dormouse_sdk"),
    ("sdk/macros", "dormouse_sdk_macros"),
];

/// What rustdoc's own lint asks an example of: no fields and variants. (The lint itself sees only what is public where
/// it is written, so it passes over all that `lib.rs` re-exports from private modules.)
const KINDS: [&str; 11] = [
    "constant",
    "enum",
    "function",
    "macro",
    "module",
    "proc_macro",
    "static",
    "struct",
    "trait",
    "type_alias",
    "union",
];

pub(crate) fn examples() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for (folder, name) in CRATES {
        let documented = document(folder, name)?;
        let items = Items::of(&documented)?;
        println!("{folder}: {} items", items.seen.len());
        problems.extend(items.lacking);
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "these lack an example in their documentation that is compiled (neither `ignore` nor `text`); write one that \
         shows what the item is for, or make the item private:\n  {}",
        problems.join("\n  ")
    );
}

/// What rustdoc knows of a crate. Only that of nightly tells, unless it is told that this one is; in a folder of its
/// own, since a cargo that is told so builds everything again, and so does the next one that is not.
fn document(folder: &str, name: &str) -> anyhow::Result<Value> {
    let target = step::target_dir(root())?.join("examples-of-sdk");
    let mut command = cargo(root(), &["rustdoc", "--lib", "--manifest-path"]);
    command
        .arg(root().join(folder).join("Cargo.toml"))
        .args(["--config", "profile.dev.package.\"*\".opt-level=0"])
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format", "json"])
        .env("RUSTC_BOOTSTRAP", "1");
    step::run(&format!("public items of {folder}"), &mut command)?;
    let path = target.join("doc").join(name).with_extension("json");
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{} is not JSON", path.display()))
}

/// The public items of a crate.
struct Items<'a> {
    index: &'a Value,
    seen: HashSet<String>,
    /// Those without an example, with the place where it belongs.
    lacking: Vec<String>,
}

impl<'a> Items<'a> {
    fn of(documented: &'a Value) -> anyhow::Result<Self> {
        let mut items = Items {
            index: &documented["index"],
            seen: HashSet::new(),
            lacking: Vec::new(),
        };
        items
            .visit(&documented["root"], "")
            .with_context(|| format!("rustdoc writes version {} of its JSON, which `cargo xtask examples` does not understand", documented["format_version"]))?;
        ensure!(items.seen.len() > 1, "rustdoc names no public items");
        Ok(items)
    }

    /// Looks at an item of this name and at what is in it.
    fn visit(&mut self, id: &Value, path: &str) -> anyhow::Result<()> {
        // Not there: of another crate, or hidden from the documentation.
        let Some(item) = self.index.get(id.to_string()) else {
            return Ok(());
        };
        let (kind, inner) = item["inner"]
            .as_object()
            .and_then(|inner| inner.iter().next())
            .context("an item has no kind")?;
        if kind == "use" {
            ensure!(
                inner["is_glob"] == false,
                "`pub use {path}*` hides what is public: name the items"
            );
            return self.visit(&inner["id"], path);
        }
        if !KINDS.contains(&kind.as_str()) || !self.seen.insert(id.to_string()) {
            return Ok(());
        }
        let docs = item["docs"].as_str().unwrap_or_default();
        if !has_example(docs) {
            let (file, line) = (&item["span"]["filename"], &item["span"]["begin"][0]);
            let file = file.as_str().unwrap_or("?");
            self.lacking.push(format!(
                "{file}:{line}: {}",
                if path.is_empty() { "the crate" } else { path }
            ));
        }
        if kind == "module" || kind == "trait" {
            self.members(&inner["items"], path)?;
        }
        if let Some(blocks) = inner["impls"].as_array() {
            for id in blocks {
                let block = &self.index[id.to_string()]["inner"]["impl"];
                // What a trait says about its functions holds for who implements it.
                if block["trait"].is_null() && block.is_object() {
                    self.members(&block["items"], path)?;
                }
            }
        }
        Ok(())
    }

    fn members(&mut self, ids: &Value, path: &str) -> anyhow::Result<()> {
        let ids = ids
            .as_array()
            .context("an item does not say what is in it")?;
        for id in ids {
            let item = &self.index[id.to_string()];
            let name = item["inner"]["use"]["name"]
                .as_str()
                .or(item["name"].as_str());
            let name = name.unwrap_or_default();
            let separator = if path.is_empty() { "" } else { "::" };
            self.visit(id, &format!("{path}{separator}{name}"))?;
        }
        Ok(())
    }
}

/// Whether one of the code blocks is compiled by rustdoc.
fn has_example(docs: &str) -> bool {
    let fences = docs
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("```"));
    // Each second fence is the end of a block.
    let mut begins = fences.step_by(2);
    begins.any(|words| {
        words
            .split([',', ' '])
            .filter(|word| !word.is_empty())
            .all(|word| {
                matches!(
                    word,
                    "rust" | "no_run" | "should_panic" | "compile_fail" | "standalone_crate"
                ) || word.starts_with("edition")
            })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn item(name: &str, docs: &str, inner: Value) -> Value {
        json!({"name": name, "docs": docs, "inner": inner, "span": {"filename": "lib.rs", "begin": [7, 1]}})
    }

    #[test]
    fn items_without_a_compiled_example_are_named() {
        let shown = "Good.\n\n```\nassert!(true);\n```";
        let ignored = "Bad.\n\n```ignore\n?\n```\n\n```text\n?\n```";
        let documented = json!({"root": 0, "format_version": 57, "index": {
            "0": item("it", shown, json!({"module": {"items": [1, 4, 9]}})),
            // From a private module, under another name; the second time is no other item.
            "1": item("", "", json!({"use": {"name": "Tea", "id": 2, "is_glob": false}})),
            "2": item("Leaf", shown, json!({"struct": {"impls": [3, 5], "kind": {}}})),
            "3": item("", "", json!({"impl": {"trait": null, "items": [6, 7]}})),
            "4": item("", "", json!({"use": {"name": "Tea", "id": 2, "is_glob": false}})),
            "5": item("", "", json!({"impl": {"trait": {"path": "Clone"}, "items": [8]}})),
            "6": item("brew", ignored, json!({"function": {}})),
            "7": item("pour", "None.", json!({"function": {}})),
            "8": item("clone", "", json!({"function": {}})),
            "9": item("Taste", shown, json!({"trait": {"items": [10, 11]}})),
            "10": item("sweet", "None.", json!({"function": {}})),
            "11": item("Of", "A type of a trait needs none.", json!({"assoc_type": {}})),
        }});
        let items = Items::of(&documented).unwrap();
        assert_eq!(
            items.lacking,
            [
                "lib.rs:7: Tea::brew",
                "lib.rs:7: Tea::pour",
                "lib.rs:7: Taste::sweet"
            ]
        );
        assert_eq!(items.seen.len(), 6);
    }

    #[test]
    fn a_form_that_is_not_known_is_an_error() {
        assert!(Items::of(&json!({})).is_err());
        let glob = json!({"use": {"name": "tea", "id": 2, "is_glob": true}});
        let documented = json!({"root": 0, "index": {
            "0": item("it", "", json!({"module": {"items": [1]}})),
            "1": item("", "", glob),
        }});
        assert!(Items::of(&documented).is_err());
        let documented = json!({"root": 0, "index": {"0": item("it", "", json!({"module": {}}))}});
        assert!(Items::of(&documented).is_err());
    }

    #[test]
    fn blocks_that_rustdoc_compiles_are_examples() {
        for docs in [
            "```\nx\n```",
            "a\n```no_run\nx\n```",
            "```sh\nx\n```\n\n```rust,edition2024\nx\n```",
        ] {
            assert!(has_example(docs), "{docs}");
        }
        for docs in [
            "",
            "a `word`",
            "```ignore\nx\n```",
            "```text\nx\n```",
            "```json\n1\n```\nmore",
        ] {
            assert!(!has_example(docs), "{docs}");
        }
    }
}

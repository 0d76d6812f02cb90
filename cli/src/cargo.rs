//! From a crate folder to a `.wasm` file, by way of cargo.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

/// What agents are built for, and what filters are.
pub(crate) const TARGET: &str = "wasm32-wasip1";
pub(crate) const COMPONENT_TARGET: &str = "wasm32-wasip2";

/// Compiles the one agent or filter crate in `folder` (or `package` of its workspace) and finds the module.
/// Compiler output goes to stderr as it comes.
pub(crate) fn build(folder: &Path, package: Option<&str>, target: &str) -> anyhow::Result<PathBuf> {
    if !folder.join("Cargo.toml").is_file() {
        bail!(
            "{} has no Cargo.toml: name a crate folder or a .wasm file",
            folder.display()
        );
    }
    if !has_target(folder, target)? {
        bail!("the compiler cannot build for {target} yet: run `rustup target add {target}`");
    }
    let metadata = metadata(folder)?;
    let chosen = choose(&metadata, folder, package)?;
    let mut cargo = cargo(folder);
    cargo.args([
        "build",
        "--target",
        target,
        "--release",
        "--lib",
        "--package",
        &chosen.id,
    ]);
    cargo.arg("--message-format=json-render-diagnostics");
    let mut child = cargo.stdout(Stdio::piped()).spawn().context(NO_CARGO)?;
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let artifact = find_artifact(BufReader::new(stdout), &chosen.id);
    // Waited for before anything else is told, so that cargo never outlives this program.
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("`cargo build` failed, see above");
    }
    artifact?.ok_or_else(|| anyhow!("cargo built {} but named no .wasm file for it", chosen.name))
}

const NO_CARGO: &str = "cannot run cargo; is Rust installed (https://rustup.rs)?";

/// Whether the toolchain that is used in `folder` has the target's standard library.
pub(crate) fn has_target(folder: &Path, target: &str) -> anyhow::Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run rustc; is Rust installed (https://rustup.rs)?")?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(libdir.trim()).is_dir())
}

fn cargo(folder: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(folder);
    command
}

/// What `cargo metadata` says, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Package {
    fn is_module(&self) -> bool {
        self.targets.iter().any(Target::is_module)
    }
}

impl Target {
    fn is_module(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

fn metadata(folder: &Path) -> anyhow::Result<Metadata> {
    let output = cargo(folder)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context(NO_CARGO)?;
    if !output.status.success() {
        bail!(
            "cargo does not understand {}, see above",
            folder.join("Cargo.toml").display()
        );
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is not what this program knows")
}

/// The package to build: the named one, else the one in `folder`, else the only agent of the workspace.
fn choose<'a>(
    metadata: &'a Metadata,
    folder: &Path,
    package: Option<&str>,
) -> anyhow::Result<&'a Package> {
    let packages = &metadata.packages;
    let here = folder
        .join("Cargo.toml")
        .canonicalize()
        .context("cannot look at Cargo.toml")?;
    let named = match package {
        Some(name) => Some(
            packages
                .iter()
                .find(|package| package.name == name)
                .ok_or_else(|| {
                    anyhow!(
                        "no package {name:?} in {}; there are: {}",
                        folder.display(),
                        names(packages)
                    )
                })?,
        ),
        None => packages
            .iter()
            .find(|package| package.manifest_path == here),
    };
    if let Some(package) = named {
        if !package.is_module() {
            bail!(
                "{} is no agent: it has no library of the kind that becomes a module. Move its code to src/lib.rs and add\n\n  \
                 [lib]\n  crate-type = [\"cdylib\", \"rlib\"]\n\nto {}",
                package.name,
                package.manifest_path.display()
            );
        }
        return Ok(package);
    }
    match packages
        .iter()
        .filter(|package| package.is_module())
        .collect::<Vec<_>>()
        .as_slice()
    {
        [package] => Ok(package),
        [] => bail!(
            "no package in {} has a library with crate-type = [\"cdylib\", \"rlib\"]",
            folder.display()
        ),
        several => bail!(
            "{} has several agents; choose one with --package: {}",
            folder.display(),
            names(several.iter().copied())
        ),
    }
}

fn names<'a>(packages: impl IntoIterator<Item = &'a Package>) -> String {
    let names: Vec<&str> = packages
        .into_iter()
        .map(|package| package.name.as_str())
        .collect();
    names.join(", ")
}

/// One line that cargo writes with `--message-format=json`.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    filenames: Option<Vec<PathBuf>>,
}

/// The `.wasm` file of the package, from cargo's messages. Reads to the end, so that cargo can go on.
fn find_artifact(messages: impl BufRead, package_id: &str) -> anyhow::Result<Option<PathBuf>> {
    let mut found = None;
    for line in messages.lines() {
        let line = line.context("cannot read what cargo writes")?;
        // Build scripts and wrappers may print lines of their own.
        let Ok(message) = serde_json::from_str::<CargoMessage>(&line) else {
            continue;
        };
        let is_ours = message.reason == "compiler-artifact"
            && message.package_id.as_deref() == Some(package_id)
            && message.target.as_ref().is_some_and(Target::is_module);
        if is_ours {
            let files = message.filenames.unwrap_or_default();
            found = files
                .into_iter()
                .find(|file| file.extension().is_some_and(|end| end == "wasm"));
            tracing::debug!(
                target = message.target.map(|target| target.name),
                ?found,
                "cargo built"
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const OURS: &str = "path+file:///w/greeter#0.1.0";

    fn artifact(package: &str, crate_types: &[&str], files: &[&str]) -> Value {
        json!({"reason": "compiler-artifact", "package_id": package, "filenames": files,
            "target": {"name": "x", "kind": crate_types, "crate_types": crate_types}})
    }

    fn found(messages: &[Value]) -> Option<PathBuf> {
        let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
        find_artifact(lines.join("\n").as_bytes(), OURS).expect("memory")
    }

    #[test]
    fn the_module_is_found_among_the_messages() {
        let messages = [
            artifact(
                "registry+https://example.com#serde@1",
                &["lib"],
                &["/t/libserde.rlib"],
            ),
            artifact(
                "path+file:///w/other#0.1.0",
                &["cdylib"],
                &["/t/other.wasm"],
            ),
            json!("a line of a build script"),
            artifact(OURS, &["custom-build"], &["/t/build-script"]),
            artifact(
                OURS,
                &["cdylib", "rlib"],
                &["/t/my target/greeter.wasm", "/t/libgreeter.rlib"],
            ),
            json!({"reason": "build-finished", "success": true}),
        ];
        assert_eq!(
            found(&messages),
            Some(PathBuf::from("/t/my target/greeter.wasm"))
        );
    }

    #[test]
    fn without_a_module_nothing_is_found() {
        assert_eq!(
            found(&[artifact(OURS, &["rlib"], &["/t/libgreeter.rlib"])]),
            None
        );
    }
}

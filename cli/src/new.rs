//! `dormouse new`: an agent project that builds.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use minijinja::{Environment, context};

use crate::Usage;
use crate::args::{NewArgs, Template};

/// What every agent's project has, by its path.
const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../templates/Cargo.toml.jinja")),
    ("src/main.rs", include_str!("../templates/main.rs.jinja")),
    ("README.md", include_str!("../templates/README.md.jinja")),
    (".gitignore", include_str!("../templates/gitignore.jinja")),
];

impl Template {
    /// The agent or filter, its test, and what else there is.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::OneShot => &[
                ("src/lib.rs", include_str!("../templates/one-shot.rs.jinja")),
                (
                    "tests/conversation.rs",
                    include_str!("../templates/one-shot-test.rs.jinja"),
                ),
            ],
            Self::MultiTurn => &[
                (
                    "src/lib.rs",
                    include_str!("../templates/multi-turn.rs.jinja"),
                ),
                (
                    "tests/conversation.rs",
                    include_str!("../templates/multi-turn-test.rs.jinja"),
                ),
            ],
            Self::Llm => &[
                ("src/lib.rs", include_str!("../templates/llm.rs.jinja")),
                (
                    "tests/conversation.rs",
                    include_str!("../templates/llm-test.rs.jinja"),
                ),
                (
                    "script.json",
                    include_str!("../templates/script.json.jinja"),
                ),
            ],
            Self::Filter => &[
                ("src/lib.rs", include_str!("../templates/filter.rs.jinja")),
                (
                    "tests/decisions.rs",
                    include_str!("../templates/filter-test.rs.jinja"),
                ),
                (
                    "Cargo.toml",
                    include_str!("../templates/filter-Cargo.toml.jinja"),
                ),
                (
                    "README.md",
                    include_str!("../templates/filter-README.md.jinja"),
                ),
                (".gitignore", include_str!("../templates/gitignore.jinja")),
            ],
        }
    }

    /// Something that its agent can answer.
    fn example(self) -> &'static str {
        match self {
            Self::OneShot => "Hello",
            Self::MultiTurn => "A table for 4",
            Self::Llm => "Something with fish",
            Self::Filter => "",
        }
    }

    /// What to do with the project next.
    fn next(self, name: &str) -> String {
        if self == Self::Filter {
            return format!(
                "dormouse filters put {name} .    compile and put it before all agents"
            );
        }
        let (grant, example) = (grant(self), self.example());
        format!(
            "dormouse deploy{grant:4} compile and put it on a running platform\n  dormouse send {name} {example:?}"
        )
    }
}

/// Longest name of an RFC 1123 label.
const MAX_NAME_LENGTH: usize = 63;

pub(crate) fn new(args: &NewArgs) -> anyhow::Result<()> {
    let name = &args.name;
    check_name(name)?;
    let folder = Path::new(name);
    if folder.symlink_metadata().is_ok() {
        bail!("{name} is there already; nothing was changed");
    }
    let template = args.template;
    let kit = match template {
        Template::Filter => FILTER_KIT,
        _ => AGENT_KIT,
    };
    let sdk = Sdk::find(kit, args.sdk.as_deref())?;
    write_project(folder, name, &sdk, template).with_context(|| format!("cannot write {name}"))?;
    let out = &mut io::stdout().lock();
    writeln!(out, "created {name}")?;
    for (path, _) in files(template) {
        writeln!(out, "  {name}/{path}")?;
    }
    writeln!(out, "\n{}", sdk.note(kit.name))?;
    let next = template.next(name);
    writeln!(
        out,
        "\nnext:\n  cd {name}\n  cargo test          its tests, natively\n  {next}"
    )?;
    Ok(())
}

fn files(template: Template) -> impl Iterator<Item = (&'static str, &'static str)> {
    let shared: &[(&str, &str)] = match template {
        Template::Filter => &[],
        _ => &FILES,
    };
    template.files().iter().chain(shared).copied()
}

/// What a deployment needs besides.
fn grant(template: Template) -> &'static str {
    match template {
        Template::Llm => " --grant llm",
        _ => "",
    }
}

/// Agents are part of URLs, so their names are RFC 1123 labels.
fn check_name(name: &str) -> anyhow::Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if let Some(c) = name.chars().find(|c| !legal(*c)) {
        format!("has {c:?} in it")
    } else if name.starts_with('-') || name.ends_with('-') {
        "begins or ends with a hyphen".to_owned()
    } else if name.len() > MAX_NAME_LENGTH {
        format!("is {} characters long", name.len())
    } else {
        return Ok(());
    };
    let mut sentence = format!(
        "the name {name:?} {problem}; an agent's name has lower-case letters, digits and inner hyphens, at most \
         {MAX_NAME_LENGTH}, because it is part of the agent's URL"
    );
    let suggestion = suggest(name);
    if !suggestion.is_empty() {
        sentence.push_str(&format!(" (for example {suggestion:?})"));
    }
    Err(Usage::error(sentence))
}

/// The nearest legal name; empty if there is none.
fn suggest(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words
        .join("-")
        .chars()
        .take(MAX_NAME_LENGTH)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

/// Cargo refuses package names that begin with a digit, and Rust crates that are called like these
/// cannot be named in code; the agent keeps its name, its package gets another.
fn package_name(agent: &str) -> String {
    const TAKEN: [&str; 56] = [
        "abstract",
        "alloc",
        "as",
        "async",
        "await",
        "become",
        "box",
        "break",
        "const",
        "continue",
        "core",
        "crate",
        "do",
        "dyn",
        "else",
        "enum",
        "extern",
        "false",
        "final",
        "fn",
        "for",
        "gen",
        "if",
        "impl",
        "in",
        "let",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "override",
        "priv",
        "proc-macro",
        "pub",
        "ref",
        "return",
        "self",
        "static",
        "std",
        "struct",
        "super",
        "test",
        "trait",
        "true",
        "try",
        "type",
        "typeof",
        "unsafe",
        "unsized",
        "use",
        "virtual",
        "where",
        "while",
        "yield",
    ];
    if agent.starts_with(|c: char| c.is_ascii_digit()) || TAKEN.contains(&agent) {
        return format!("agent-{agent}");
    }
    agent.to_owned()
}

/// What a project depends on.
#[derive(Clone, Copy)]
struct Kit {
    name: &'static str,
    /// Where it is in a checkout of Dormouse.
    folder: &'static str,
}

const AGENT_KIT: Kit = Kit {
    name: "dormouse-sdk",
    folder: "sdk",
};
const FILTER_KIT: Kit = Kit {
    name: "dormouse-filter-sdk",
    folder: "policies/sdk",
};

/// Where the project gets the SDK from.
enum Sdk {
    /// The registry.
    Published,
    /// The user named a checkout.
    Given(PathBuf),
    /// The checkout that this binary was built from.
    Checkout(PathBuf),
}

impl Sdk {
    fn find(kit: Kit, given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = given {
            // Whoever names the one kit for all projects means the checkout that the other is in.
            let other = path.join("..").join(kit.folder);
            let named = [path.to_owned(), other];
            let found = named.iter().find(|path| kit.is_at(path));
            return match found.map(|path| path.canonicalize()) {
                Some(Ok(path)) => Ok(Self::Given(path)),
                _ => Err(Usage::error(format!(
                    "{} is not a checkout of {}",
                    path.display(),
                    kit.name
                ))),
            };
        }
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
        let beside = checkout.join(kit.folder);
        Ok(if kit.is_at(&beside) {
            Self::Checkout(beside)
        } else {
            Self::Published
        })
    }

    /// The right-hand side of the dependency in Cargo.toml.
    fn dependency(&self) -> String {
        match self {
            Self::Published => "\"0.1\"".to_owned(),
            // A TOML basic string escapes like a JSON string.
            Self::Given(path) | Self::Checkout(path) => {
                format!(
                    "{{ version = \"0.1\", path = {} }}",
                    serde_json::Value::from(path.to_string_lossy())
                )
            }
        }
    }

    fn note(&self, kit: &str) -> String {
        match self {
            Self::Published => format!(
                "it depends on {kit} 0.1 from crates.io; if that is not published yet, use --sdk PATH with a checkout"
            ),
            Self::Given(path) => format!("it depends on the SDK in {}", path.display()),
            Self::Checkout(path) => format!(
                "{kit} is not on crates.io yet, so Cargo.toml names the checkout that this dormouse was built \
                 from: {}\nfor others to build it, change that line to {kit} = \"0.1\" once it is published",
                path.display()
            ),
        }
    }
}

impl Kit {
    fn is_at(self, path: &Path) -> bool {
        let line = format!("name = \"{}\"", self.name);
        std::fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|text| text.contains(&line))
    }
}

fn write_project(folder: &Path, name: &str, sdk: &Sdk, template: Template) -> anyhow::Result<()> {
    let mut templates = Environment::new();
    templates.set_keep_trailing_newline(true);
    let package = package_name(name);
    let values = context! {
        name => name,
        package => package,
        library => package.replace('-', "_"),
        sdk => sdk.dependency(),
        template => template.to_possible_value().map(|value| value.get_name().to_owned()),
        example => template.example(),
    };
    for (path, source) in files(template) {
        let text = templates
            .render_str(source, &values)
            .context("a template is wrong")?;
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("every file is inside the folder"))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rfc_1123_labels() {
        for legal in ["a", "csv-stats", "7up", &"x".repeat(63)] {
            assert!(check_name(legal).is_ok(), "{legal}");
        }
        for illegal in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "ü",
            "a/b",
            "../a",
            &"x".repeat(64),
        ] {
            assert!(check_name(illegal).is_err(), "{illegal}");
        }
    }

    #[test]
    fn a_legal_name_is_suggested() {
        assert_eq!(suggest("My_Agent!"), "my-agent");
        assert_eq!(suggest("-a-"), "a");
        assert_eq!(suggest("ü"), "");
    }

    #[test]
    fn packages_get_names_that_cargo_takes() {
        assert_eq!(package_name("7up"), "agent-7up");
        assert_eq!(package_name("test"), "agent-test");
        assert_eq!(package_name("greeter"), "greeter");
    }
}

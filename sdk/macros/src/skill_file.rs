//! `include_skill!`: a `SKILL.md` (agentskills.io/specification) becomes the value that says the same.

use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr};

/// Characters of a name and of a description, by the specification.
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 1024;

pub(crate) fn expand(arguments: TokenStream) -> syn::Result<TokenStream> {
    let path: LitStr = syn::parse2(arguments)?;
    let fail = |sentence: String| Error::new_spanned(&path, sentence);
    // Cargo sets it for whatever it compiles.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let mut file = root.unwrap_or_default().join(path.value());
    if file.is_dir() {
        file.push("SKILL.md");
    }
    let text = std::fs::read_to_string(&file)
        .map_err(|error| fail(format!("cannot read {}: {error}", path.value())))?;
    let skill = Skill::parse(&text).map_err(&fail)?;
    skill.check(&file).map_err(&fail)?;
    let Skill {
        name,
        description,
        instructions,
    } = skill;
    let file = file.to_string_lossy();
    Ok(quote! {{
        // So that a change of the file compiles the crate again.
        const _: &str = ::core::include_str!(#file);
        ::dormouse_sdk::AgentSkillDef::new(#name, #description, #instructions)
    }})
}

/// What is taken from the file.
#[derive(Debug, PartialEq)]
struct Skill {
    name: String,
    description: String,
    instructions: String,
}

impl Skill {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let rest = text
            .strip_prefix("---\n")
            .ok_or("the file does not begin with `---` and its front matter")?;
        let (matter, body) = rest
            .split_once("\n---\n")
            .or_else(|| rest.strip_suffix("\n---").map(|matter| (matter, "")))
            .ok_or("the front matter has no end: a line with `---`")?;
        let (mut name, mut description) = (None, None);
        let lines: Vec<&str> = matter.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            at += 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .filter(|(key, _)| !key.starts_with([' ', '\t', '-']))
                .ok_or_else(|| {
                    format!("this line of the front matter is no `key: value`: {line}")
                })?;
            let inner = lines[at..].iter().take_while(|line| belongs(line)).count();
            let inner = &lines[at..at + inner];
            at += inner.len();
            let place = match key.trim_end() {
                "name" => &mut name,
                "description" => &mut description,
                _ => continue,
            };
            let scalar =
                scalar(value.trim(), inner).map_err(|problem| format!("{key}: {problem}"))?;
            if place.replace(scalar).is_some() {
                return Err(format!("{key} is given twice"));
            }
        }
        Ok(Self {
            name: name.ok_or("the front matter has no `name`")?,
            description: description.ok_or("the front matter has no `description`")?,
            instructions: body.trim().to_owned(),
        })
    }

    /// What the specification demands.
    fn check(&self, file: &Path) -> Result<(), String> {
        let name = &self.name;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_legal = (1..=MAX_NAME).contains(&name.len())
            && name.chars().all(legal)
            && !name.starts_with('-')
            && !name.ends_with('-')
            && !name.contains("--");
        if !is_legal {
            return Err(format!(
                "the name {name:?} is not 1 to {MAX_NAME} of lower-case letters, digits and single inner hyphens"
            ));
        }
        let folder = file.parent().and_then(Path::file_name);
        let is_skill_md = file.file_name().is_some_and(|file| file == "SKILL.md");
        let is_own = folder.is_some_and(|folder| folder == name.as_str());
        let is_in_crate = file.with_file_name("Cargo.toml").is_file();
        if is_skill_md && !is_own && !is_in_crate {
            return Err(format!(
                "the folder of the skill {name:?} must have its name"
            ));
        }
        let letters = self.description.chars().count();
        if !(1..=MAX_DESCRIPTION).contains(&letters) {
            return Err(format!(
                "the description has {letters} characters, not 1 to {MAX_DESCRIPTION}"
            ));
        }
        if self.instructions.is_empty() {
            return Err("there are no instructions after the front matter".to_owned());
        }
        Ok(())
    }
}

/// Whether a line belongs to the value of the key before it.
fn belongs(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with([' ', '\t', '-'])
}

/// A text of YAML in the forms that front matter has. What could mean something else is refused.
fn scalar(value: &str, inner: &[&str]) -> Result<String, String> {
    let inner = || inner.iter().map(|line| line.trim());
    match value.chars().next() {
        Some('>') if is_header(value) => Ok(folded(inner())),
        Some('|') if is_header(value) => {
            Ok(inner().collect::<Vec<_>>().join("\n").trim().to_owned())
        }
        Some(quote @ ('"' | '\'')) => {
            let mut all = vec![value];
            all.extend(inner().filter(|line| !line.is_empty()));
            quoted(&all.join(" "), quote)
        }
        Some(first) if "[]{}&*!|>%@`,?-".contains(first) => {
            Err("begins like something other than text; put it in quotes".to_owned())
        }
        _ => {
            let mut all = vec![value];
            all.extend(inner());
            let text = folded(all.into_iter());
            let text = text.split(" #").next().unwrap_or_default().trim_end();
            if text.contains(": ") || text.ends_with(':') {
                return Err("has a colon; put it in quotes".to_owned());
            }
            Ok(text.to_owned())
        }
    }
}

/// `>`, `|-` and the like.
fn is_header(value: &str) -> bool {
    value[1..].chars().all(|c| matches!(c, '-' | '+'))
}

/// Lines become one, paragraphs stay apart.
fn folded<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        if line.is_empty() {
            text.push('\n');
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text.trim().to_owned()
}

fn quoted(value: &str, quote: char) -> Result<String, String> {
    let open = || "its quotes do not end, or something follows them".to_owned();
    let inner = value
        .strip_prefix(quote)
        .and_then(|rest| rest.strip_suffix(quote));
    let inner = inner.ok_or_else(open)?;
    let mut text = String::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', '"') => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(c @ ('"' | '\\' | '/')) => text.push(c),
                other => {
                    return Err(format!(
                        "does not take the escape \\{}",
                        other.unwrap_or(' ')
                    ));
                }
            },
            ('\'', '\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            (c, quote) if c == quote => return Err(open()),
            (c, _) => text.push(c),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(line: &str) -> Result<String, String> {
        let text = format!("---\nname: a\n{line}\nlicense: MIT\n---\nDo it.");
        Skill::parse(&text).map(|skill| skill.description)
    }

    #[test]
    fn the_forms_of_text_in_front_matter() {
        for (line, expected) in [
            ("description: Plain text # a comment", "Plain text"),
            ("description: Two\n  lines", "Two lines"),
            ("description: \"Quoted: \\\"yes\\\"\"", "Quoted: \"yes\""),
            ("description: 'It''s: so'", "It's: so"),
            ("description: >-\n  One\n  line\n\n  Next", "One line\nNext"),
            ("description: |\n  One\n  two", "One\ntwo"),
            (
                "metadata:\n  description: inner\ndescription: outer",
                "outer",
            ),
            (
                "allowed-tools:\n- Read\n- Write\ndescription: tools",
                "tools",
            ),
        ] {
            assert_eq!(described(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for line in [
            "description: a: b",
            "description: [a, b]",
            "description: 'open",
            "description: \"a\" b \"c\"",
            "description: \"\\x41\"",
            "description: a\ndescription: b",
            "no colon",
            "license: MIT",
        ] {
            assert!(described(line).is_err(), "{line}");
        }
        for text in ["", "name: a", "---\nname: a\n", "---\n---\n"] {
            assert!(Skill::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_descriptions_and_folders_are_checked() {
        let check = |name: &str, description: &str, file: &str| {
            let skill = Skill {
                name: name.to_owned(),
                description: description.to_owned(),
                instructions: "Do it.".to_owned(),
            };
            skill.check(Path::new(file)).is_ok()
        };
        assert!(check("a-b", "d", "skills/a-b/SKILL.md"));
        assert!(check("a-b", "d", "other/a-b.md"));
        assert!(!check("a-b", "d", "other/SKILL.md"));
        let long = "x".repeat(MAX_DESCRIPTION + 1);
        for (name, description) in [
            ("A", "d"),
            ("-a", "d"),
            ("a--b", "d"),
            ("", "d"),
            ("a", ""),
            ("a", &long),
        ] {
            assert!(!check(name, description, "a.md"), "{name:?}");
        }
    }

    #[test]
    fn windows_line_ends_and_a_mark_are_taken() {
        let skill =
            Skill::parse("\u{feff}---\r\nname: a\r\ndescription: b\r\n---\r\nDo\r\nit.\r\n");
        let skill = skill.map(|skill| skill.instructions);
        assert_eq!(skill.as_deref(), Ok("Do\nit."));
    }
}

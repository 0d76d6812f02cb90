//! The language models of `serve`, as the configuration has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse_services::Chooser;
use dormouse_services::llm::{Budgets, Embedder, Llm, Model, Remote, Script, Secret, Style};
use dormouse_services::net::{AllowRule, HttpClient, Target};
use serde::Deserialize;

use crate::Usage;
use crate::units::Span;

/// The model that answers when an agent names none, unless there is but one.
const DEFAULT: &str = "default";
/// The name of the model that `--llm-script` makes.
const SCRIPT: &str = "script";
/// From a request to the end of its answer: long answers take a minute.
const TIMEOUT: Duration = Duration::from_secs(120);
const OPENAI: &str = "https://api.openai.com/v1";
const RETRIES: u32 = 2;
const MAX_RETRIES: u32 = 10;

/// One `[llm.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ModelSettings {
    style: StyleWord,
    /// Base URL of the provider; for a script its file.
    url: Option<String>,
    /// The provider's name for the model.
    #[serde(default)]
    model: String,
    /// The environment variable that has the key.
    key_env: Option<String>,
    /// The file that has the key.
    key_file: Option<PathBuf>,
    timeout: Option<Span>,
    retries: Option<u32>,
    max_tokens: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StyleWord {
    OpenAi,
    Anthropic,
    Script,
}

/// `[embeddings]`: what makes vectors of what agents remember.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct EmbeddingSettings {
    style: EmbeddingStyle,
    /// Base URL of the provider.
    url: Option<String>,
    /// The provider's name for the model.
    #[serde(default)]
    model: String,
    key_env: Option<String>,
    key_file: Option<PathBuf>,
    timeout: Option<Span>,
    dimensions: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmbeddingStyle {
    OpenAi,
    /// Texts are near each other that share words: without a provider.
    Words,
}

/// An agent waits for a vector with every entry that it saves.
const EMBEDDING_TIMEOUT: Duration = Duration::from_secs(10);

/// `None` if there is no model and nothing that makes vectors.
///
/// # Errors
/// Wrong usage, as one sentence.
pub(crate) fn open(
    settings: BTreeMap<String, ModelSettings>,
    script: Option<&Path>,
    embeddings: Option<EmbeddingSettings>,
    budgets: Budgets,
) -> anyhow::Result<Option<Llm>> {
    let mut models = BTreeMap::new();
    for (name, settings) in settings {
        let model = model(&name, settings)?;
        models.insert(name, model);
    }
    if let Some(file) = script {
        models.insert(SCRIPT.to_owned(), scripted(file)?);
    }
    let embedder = embeddings.map(embedder).transpose()?;
    let only = models.keys().next().cloned();
    let default = match only {
        None if embedder.is_none() => return Ok(None),
        None => String::new(),
        Some(only) if models.len() == 1 => only,
        Some(_) if models.contains_key(DEFAULT) => DEFAULT.to_owned(),
        Some(_) if script.is_some() => SCRIPT.to_owned(),
        Some(_) => {
            return Err(Usage::error(
                "of several language models one must be named default: [llm.default]",
            ));
        }
    };
    let llm = Llm::new(models, default, budgets);
    Ok(Some(llm.with_embedder(embedder)))
}

/// The model that chooses skills, if one is to.
///
/// # Errors
/// Wrong usage, if there is no such model.
pub(crate) fn chooser(llm: Option<&Llm>, model: Option<String>) -> anyhow::Result<Option<Chooser>> {
    match model {
        Some(name) if !llm.is_some_and(|llm| llm.has_model(&name)) => Err(Usage::error(format!(
            "skills-by-model: there is no language model {name:?}; configure it as [llm.{name}]"
        ))),
        model => Ok(model.map(Chooser::new)),
    }
}

fn scripted(file: &Path) -> anyhow::Result<Model> {
    let wrong = |error: &dyn std::fmt::Display| {
        Usage::error(format!("the script {}: {error}", file.display()))
    };
    let json = std::fs::read(file).map_err(|error| wrong(&error))?;
    let script = Script::parse(&json).map_err(|error| wrong(&error))?;
    Ok(Model::Script(script))
}

fn model(name: &str, settings: ModelSettings) -> anyhow::Result<Model> {
    let wrong = |what: String| Usage::error(format!("the language model [llm.{name}]: {what}"));
    let style = match settings.style {
        StyleWord::OpenAi => Style::OpenAi,
        StyleWord::Anthropic => Style::Anthropic,
        StyleWord::Script => {
            let file = settings.url;
            let file = file.ok_or_else(|| wrong("url must name the script's file".to_owned()))?;
            return scripted(Path::new(&file));
        }
    };
    let usual = match style {
        Style::OpenAi => OPENAI,
        Style::Anthropic => "https://api.anthropic.com",
    };
    if settings.model.is_empty() {
        return Err(wrong("model must be the provider's name of one".to_owned()));
    }
    let base = settings.url.as_deref().unwrap_or(usual);
    let timeout = settings.timeout.map_or(TIMEOUT, |span| span.0);
    let (client, target) = way(base, style.path(), timeout).map_err(wrong)?;
    let key = key(settings.key_env.as_deref(), settings.key_file.as_deref()).map_err(wrong)?;
    Ok(Model::Remote(Remote {
        style,
        client,
        target,
        model: settings.model,
        key,
        retries: settings.retries.unwrap_or(RETRIES).min(MAX_RETRIES),
        max_tokens: settings.max_tokens,
    }))
}

fn embedder(settings: EmbeddingSettings) -> anyhow::Result<Embedder> {
    let wrong = |what: String| Usage::error(format!("[embeddings]: {what}"));
    if matches!(settings.style, EmbeddingStyle::Words) {
        return Ok(Embedder::Words);
    }
    if settings.model.is_empty() {
        let sentence = "model must be the provider's name of one";
        return Err(wrong(sentence.to_owned()));
    }
    let base = settings.url.as_deref().unwrap_or(OPENAI);
    let timeout = settings.timeout.map_or(EMBEDDING_TIMEOUT, |span| span.0);
    let (client, target) = way(base, "/embeddings", timeout).map_err(wrong)?;
    let key = key(settings.key_env.as_deref(), settings.key_file.as_deref()).map_err(wrong)?;
    Ok(Embedder::Remote {
        client,
        target,
        model: settings.model,
        key,
        dimensions: settings.dimensions,
    })
}

/// A client for one place below a base URL, and that place. The operator has named its host, so it may be a neighbour:
/// a model on the same machine is one.
fn way(base: &str, path: &str, timeout: Duration) -> Result<(HttpClient, Target), String> {
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let parsed = reqwest::Url::parse(&url).map_err(|error| format!("url: {error}"))?;
    let port = parsed.port_or_known_default();
    let (host, port) = parsed.host_str().zip(port).ok_or("url names no host")?;
    let rule = format!("{host}:{port}").parse::<AllowRule>();
    let rule = rule.map_err(|error| format!("url: {error}"))?;
    let client = HttpClient::new([rule].into_iter().collect()).answer_timeout(timeout);
    let target = client.target(&url);
    let target = target.map_err(|error| format!("url: {error}"))?;
    Ok((client, target))
}

/// A secret from where it is kept.
pub(crate) fn key(variable: Option<&str>, file: Option<&Path>) -> Result<Option<Secret>, String> {
    let text = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err("give key-env or key-file, not both".to_owned()),
        (Some(name), None) => std::env::var(name)
            .map_err(|_unset| format!("the environment variable {name} is not set"))?,
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| format!("the key file {}: {error}", file.display()))?,
    };
    Ok(Some(Secret::new(text.trim())))
}

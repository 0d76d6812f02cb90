//! The configuration of `serve`: flags over a file over defaults, parsed once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dormouse_gateway::tls::Tls;
use dormouse_gateway::{MAX_CONNECTIONS, WithoutTokens};
use dormouse_scheduler::{CallLimits, Preset, SchedulerConfig};
use dormouse_services::Service;
use dormouse_services::Services;
use dormouse_services::llm::Budgets;
use dormouse_services::net::{AllowList, AllowRule};
use dormouse_store::OpenOptions;
use serde::Deserialize;

use crate::Usage;
use crate::models::{self, EmbeddingSettings, ModelSettings};
use crate::secrets::{self, SecretSettings};
use crate::traces::{self, Collector};
use crate::units::{Size, Span};

pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
pub(crate) const DEFAULT_DATA_DIR: &str = "dormouse-data";
/// Compiled code, inside the data folder.
const CODE_DIR: &str = "code";
/// What cards are signed with, inside the data folder.
const CARD_KEY: &str = "card-key.json";
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a user may set, as flags or as keys of the file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Address of the platform; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Folder of everything that is kept [default: ./dormouse-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Origin that clients use, for the addresses on agent cards [default: http://ADDR:PORT, or https://ADDR:PORT]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Show this certificate, in PEM with its chain, and speak TLS only; it is read again when it changes. /metrics on an
    /// address of its own stays without [default: no TLS]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Agent whose card is served at the root [default: the only agent there is]
    #[arg(long, value_name = "NAME")]
    root_agent: Option<String>,

    /// A parked instance is evicted after this long without a call; 0s parks none [default: 1m]
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<Span>,

    /// Loaded code is dropped after this long without a call; 0s keeps none [default: 15m]
    #[arg(long, value_name = "DURATION")]
    code_idle_timeout: Option<Span>,

    /// Serve /metrics here, and no longer on the public address
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,

    /// Instances that may live at a time [default: 1000]
    #[arg(long, value_name = "N")]
    max_instances: Option<NonZeroU32>,

    /// Memory of the server above which idle instances are evicted, for example 512MiB [default: 90% of its control
    /// group's limit, or 75% of the machine's memory]
    #[arg(long, value_name = "SIZE")]
    memory_budget: Option<Size>,

    /// What calls may use: time, processor, memory, tables, host calls [default: default]
    #[arg(long, value_name = "PRESET")]
    limits: Option<LimitsPreset>,

    /// A call may take this long, its waits included [default: 1m, or what --limits says]
    #[arg(long, value_name = "DURATION")]
    call_timeout: Option<Span>,

    /// A call may use a processor for this long, its waits not included [default: 30s, or what --limits says]
    #[arg(long, value_name = "DURATION")]
    cpu_limit: Option<Span>,

    /// A call may use so many units of fuel, about one for each instruction; counting them is deterministic and
    /// makes all agents slower [default: not counted]
    #[arg(long, value_name = "N")]
    fuel: Option<NonZeroU64>,

    /// Let every agent that says that it needs this service use it: llm, a destination of HTTP requests such as
    /// https://api.example.com, or another agent as agent:NAME; may be repeated [default: those only that are deployed
    /// with --grant]
    #[arg(long, value_name = "SERVICE")]
    grant: Option<Vec<Service>>,

    /// Language models by the names that agents know them by; in the file only, as [llm.NAME]
    #[arg(skip)]
    #[serde(default)]
    llm: BTreeMap<String, ModelSettings>,

    /// What makes vectors of what agents remember; in the file only, as [embeddings]
    #[arg(skip)]
    embeddings: Option<EmbeddingSettings>,

    /// A language model that answers from this file, as a model named `script`; for tests and work without a network
    #[arg(long, value_name = "FILE")]
    llm_script: Option<PathBuf>,

    /// Tokens that each agent may use in a day (UTC) [default: no bound]
    #[arg(long, value_name = "N")]
    llm_agent_tokens: Option<u64>,

    /// Tokens that each principal may use in a day (UTC), of all agents [default: no bound]
    #[arg(long, value_name = "N")]
    llm_principal_tokens: Option<u64>,

    /// Have this language model choose the skill of a message that names none, at an agent with several, and not only
    /// the message's words [default: words alone]
    #[arg(long, value_name = "NAME")]
    skills_by_model: Option<String>,

    /// Open a data folder of which a part is lost, without that part
    #[arg(long, num_args = 0, default_missing_value = "true")]
    accept_data_loss: Option<bool>,

    /// While there is no token, let everybody in on an address that is not loopback
    #[arg(long, num_args = 0, default_missing_value = "true")]
    insecure: Option<bool>,

    /// Send push notifications to this host or network, too, although it is not on the public internet:
    /// localhost:9000, 10.0.0.0/8, [fd00::1]:443; may be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    webhook_allow: Option<Vec<AllowRule>>,

    /// Let agents send HTTP requests to this host or network, too, although it is not on the public internet, if they
    /// were granted it; written as for --webhook-allow; may be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    http_allow: Option<Vec<AllowRule>>,

    /// Secrets for HTTP requests of agents; in the file only, as [secret.NAME]
    #[arg(skip)]
    #[serde(default)]
    secret: BTreeMap<String, SecretSettings>,

    /// Configuration of single agents; in the file only, as [config.AGENT]
    #[arg(skip)]
    #[serde(default)]
    config: BTreeMap<String, BTreeMap<String, String>>,

    /// Send no push notifications
    #[arg(long, num_args = 0, default_missing_value = "true")]
    no_push: Option<bool>,

    /// Send traces to this OpenTelemetry collector, by OTLP over HTTP in JSON: http://localhost:4318. Without one, a client's
    /// trace is passed on but nothing is recorded
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,

    /// Record this share of the traces that begin here, 0 to 1; those of clients are recorded if their client records them
    /// [default: 1]
    #[arg(long, value_name = "RATIO", env = "OTEL_TRACES_SAMPLER_ARG")]
    trace_ratio: Option<f64>,

    /// On shutdown, running calls have this long to end [default: 30s]
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<Span>,
}

/// What `serve` runs with.
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) without_tokens: WithoutTokens,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) public_url: Option<String>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) root_agent: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) card_key: PathBuf,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) push_notifications: bool,
    pub(crate) webhook_allow: AllowList,
    pub(crate) agent_config: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) store: OpenOptions,
    pub(crate) scheduler: SchedulerConfig,
    /// What calls may ask for, with what counts it.
    pub(crate) services: Services,
    /// `None`: nothing is recorded.
    pub(crate) traces: Option<Collector>,
}

impl Config {
    /// Flags over the file over the defaults.
    ///
    /// # Errors
    /// Wrong usage, as one sentence.
    pub(crate) fn new(flags: Settings, file: Option<&Path>) -> anyhow::Result<Self> {
        let file = file.map(read).transpose()?.unwrap_or_default();
        let settings = flags.over(file);
        settings.check_times()?;
        let listen = settings.listen.unwrap_or(DEFAULT_LISTEN);
        let without_tokens = if listen.ip().is_loopback() || settings.insecure == Some(true) {
            WithoutTokens::Open
        } else {
            WithoutTokens::Closed
        };
        let data_dir = settings
            .data_dir
            .clone()
            .unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let mut scheduler = settings.scheduler(&data_dir);
        let public_url = settings
            .public_url
            .map(|url| check_origin(&url))
            .transpose()?;
        let tls = tls(settings.tls_cert.as_deref(), settings.tls_key.as_deref())?;
        let budgets = Budgets {
            agent: settings.llm_agent_tokens,
            principal: settings.llm_principal_tokens,
        };
        let script = settings.llm_script.as_deref();
        let llm = models::open(settings.llm, script, settings.embeddings, budgets)?;
        let services = Services {
            chooser: models::chooser(llm.as_ref(), settings.skills_by_model)?,
            llm,
            ..Services::default()
        };
        let inside = settings.http_allow.into_iter().flatten().collect();
        let egress = secrets::egress(inside, settings.secret, &services)?;
        scheduler.egress = Arc::new(egress);
        let accept_data_loss = settings.accept_data_loss == Some(true);
        Ok(Self {
            listen,
            without_tokens,
            metrics_listen: settings.metrics_listen,
            tls,
            public_url,
            root_agent: settings.root_agent,
            card_key: data_dir.join(CARD_KEY),
            data_dir,
            drain_timeout: settings
                .drain_timeout
                .map_or(DEFAULT_DRAIN_TIMEOUT, |span| span.0),
            max_connections: MAX_CONNECTIONS,
            push_notifications: settings.no_push != Some(true),
            webhook_allow: settings.webhook_allow.into_iter().flatten().collect(),
            agent_config: settings.config,
            traces: traces::collector(settings.otlp_endpoint.as_deref(), settings.trace_ratio)?,
            store: OpenOptions {
                accept_data_loss,
                ..OpenOptions::default()
            },
            scheduler,
            services,
        })
    }
}

/// Both files or none.
fn tls(certificates: Option<&Path>, key: Option<&Path>) -> anyhow::Result<Option<Arc<Tls>>> {
    match (certificates, key) {
        (None, None) => Ok(None),
        (Some(certificates), Some(key)) => match Tls::open(certificates, key) {
            Ok(tls) => Ok(Some(Arc::new(tls))),
            Err(error) => Err(Usage::error(error.to_string())),
        },
        _ => Err(Usage::error(
            "TLS needs both --tls-cert and --tls-key: a certificate and its private key",
        )),
    }
}

fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

impl Settings {
    /// How instances are kept and calls are bounded.
    fn scheduler(&self, data_dir: &Path) -> SchedulerConfig {
        let mut scheduler = SchedulerConfig::new(data_dir.join(CODE_DIR));
        if let Some(preset) = self.limits {
            scheduler.limits = preset.limits();
        }
        set(
            &mut scheduler.idle_timeout,
            self.idle_timeout.map(|span| span.0),
        );
        set(
            &mut scheduler.code_idle_timeout,
            self.code_idle_timeout.map(|span| span.0),
        );
        set(
            &mut scheduler.limits.deadline,
            self.call_timeout.map(|span| span.0),
        );
        set(
            &mut scheduler.limits.processor,
            self.cpu_limit.map(|span| span.0),
        );
        set(
            &mut scheduler.max_instances,
            self.max_instances.map(|count| count.get() as usize),
        );
        scheduler.limits.fuel = self.fuel.map(NonZeroU64::get);
        scheduler.memory_budget = self.memory_budget.map(|size| size.0);
        scheduler.grants = self.grant.iter().flatten().cloned().collect();
        scheduler
    }

    /// Calls need some time.
    fn check_times(&self) -> anyhow::Result<()> {
        if self.call_timeout.is_some_and(|span| span.0.is_zero()) {
            return Err(Usage::error(
                "with a call timeout of 0s no call could be answered: give calls some time",
            ));
        }
        if self.cpu_limit.is_some_and(|span| span.0.is_zero()) {
            return Err(Usage::error(
                "with a processor time of 0s no call could run: give calls some time",
            ));
        }
        Ok(())
    }

    fn over(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            data_dir: self.data_dir.or(file.data_dir),
            public_url: self.public_url.or(file.public_url),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            root_agent: self.root_agent.or(file.root_agent),
            idle_timeout: self.idle_timeout.or(file.idle_timeout),
            code_idle_timeout: self.code_idle_timeout.or(file.code_idle_timeout),
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            memory_budget: self.memory_budget.or(file.memory_budget),
            max_instances: self.max_instances.or(file.max_instances),
            limits: self.limits.or(file.limits),
            call_timeout: self.call_timeout.or(file.call_timeout),
            cpu_limit: self.cpu_limit.or(file.cpu_limit),
            fuel: self.fuel.or(file.fuel),
            grant: self.grant.or(file.grant),
            llm: file.llm,
            embeddings: file.embeddings,
            llm_script: self.llm_script.or(file.llm_script),
            llm_agent_tokens: self.llm_agent_tokens.or(file.llm_agent_tokens),
            llm_principal_tokens: self.llm_principal_tokens.or(file.llm_principal_tokens),
            skills_by_model: self.skills_by_model.or(file.skills_by_model),
            accept_data_loss: self.accept_data_loss.or(file.accept_data_loss),
            insecure: self.insecure.or(file.insecure),
            webhook_allow: self.webhook_allow.or(file.webhook_allow),
            http_allow: self.http_allow.or(file.http_allow),
            secret: file.secret,
            config: file.config,
            no_push: self.no_push.or(file.no_push),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
            trace_ratio: self.trace_ratio.or(file.trace_ratio),
            drain_timeout: self.drain_timeout.or(file.drain_timeout),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Usage::error(format!(
            "cannot read the configuration {}: {error}",
            path.display()
        ))
    })?;
    toml::from_str(&text).map_err(|error| {
        Usage::error(format!(
            "the configuration {} is wrong: {error}",
            path.display()
        ))
    })
}

/// An origin without a slash at its end: paths are appended to it.
fn check_origin(url: &str) -> anyhow::Result<String> {
    let parsed = reqwest::Url::parse(url).ok().filter(|parsed| {
        matches!(parsed.scheme(), "http" | "https")
            && parsed.query().is_none()
            && parsed.fragment().is_none()
    });
    match parsed {
        Some(parsed) => Ok(parsed.as_str().trim_end_matches('/').to_owned()),
        None => Err(Usage::error(format!(
            "the public URL {url:?} must look like https://agents.example.com"
        ))),
    }
}

/// A set of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LimitsPreset {
    /// For agents of strangers that do little
    Strict,
    Default,
    /// For agents that compute for long or hold a lot
    Generous,
}

impl LimitsPreset {
    fn limits(self) -> CallLimits {
        let preset = match self {
            Self::Strict => Preset::Strict,
            Self::Default => Preset::Default,
            Self::Generous => Preset::Generous,
        };
        preset.limits()
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

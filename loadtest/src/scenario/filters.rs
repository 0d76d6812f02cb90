//! A call of a parked instance with nothing before its agent, and with five filters: what they add to it.

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request,
    header::{CONTENT_TYPE, HOST},
};
use serde_json::{Value, json};

use crate::{
    connection::{excerpt, send_once},
    fleet::echo,
    load::{Connections, Pace},
    scene::{Scene, latency},
    stats::median,
    targets::Targets,
};

/// Files of the filters that ship, and configurations that let every call pass.
fn five() -> [(&'static str, Value); 5] {
    [
        (
            "allow_list.wasm",
            json!({"allow": {"methods": ["POST"]}, "deny": {"paths": ["/agents/secret"]}}),
        ),
        ("header_rules.wasm", json!({"forbidden": ["x-debug"]})),
        ("enrich.wasm", json!({"facts": {"x-from": "client-ip"}})),
        (
            "rate_limit.wasm",
            json!({"burst": 1_000_000_000, "per_second": 1_000_000}),
        ),
        ("pii.wasm", json!({"action": "redact", "responses": true})),
    ]
}

pub(super) async fn run(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 1..=scene.plan.rounds {
        scene.serve(&[]).await?;
        rounds.push(round(scene).await?);
    }
    let of = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick));
    let there = "there was no round";
    let found = &mut scene.finding;
    found.time(
        "alone_us",
        of(|round| round.alone_us).context(there)?,
        "p50 of a call without filters, at 1 connection",
    );
    found.time(
        "filtered_us",
        of(|round| round.filtered_us).context(there)?,
        "the same with five filters",
    );
    found.time(
        "added_us",
        of(|round| round.filtered_us - round.alone_us).context(there)?,
        "what five filters add to it",
    );
    found.ratio(
        "throughput_ratio",
        of(|round| round.throughput).context(there)?,
        "calls per second with five filters, of those without",
    );
    Ok(())
}

struct Round {
    alone_us: f64,
    filtered_us: f64,
    throughput: f64,
}

async fn round(scene: &mut Scene<'_>) -> anyhow::Result<Round> {
    let authority = scene.authority()?;
    let agent = scene.deploy('f', 1, 1).await?;
    let call = echo(&authority, Targets::in_turn(agent.paths()))?;
    let count = scene.plan.connections;
    let closed = || Pace::BackToBack(scene.plan.phase);
    let (one, all) = (closed(), closed());
    let (one_filtered, all_filtered) = (closed(), closed());

    let connections = Connections::open(&call, 1).await?;
    let alone = scene.phase("without filters", connections, one).await?;
    let alone_us = latency(alone)?.p50_us;
    let connections = Connections::open(&call, count).await?;
    let capacity = scene
        .phase("without filters, capacity", connections, all)
        .await?
        .requests_per_second;

    put(scene, &authority).await?;
    let connections = Connections::open(&call, 1).await?;
    let filtered = scene
        .phase("five filters", connections, one_filtered)
        .await?;
    let filtered_us = latency(filtered)?.p50_us;
    let connections = Connections::open(&call, count).await?;
    let beside = scene
        .phase("five filters, capacity", connections, all_filtered)
        .await?
        .requests_per_second;
    // The next round has the same data, and begins without them.
    remove(&authority).await?;
    Ok(Round {
        alone_us,
        filtered_us,
        throughput: beside / capacity.max(1.0),
    })
}

fn path_of(order: usize) -> String {
    format!("/v1/filters/f{order}")
}

async fn put(scene: &Scene<'_>, authority: &str) -> anyhow::Result<()> {
    let folder = scene.plan.filters.as_deref();
    let folder = folder.context("the plan has no folder of filters")?;
    for (order, (file, config)) in five().into_iter().enumerate() {
        let path = folder.join(file);
        let bytes = std::fs::read(&path);
        let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
        let body = json!({"wasm": STANDARD.encode(bytes), "config": config, "order": order});
        let request = Request::put(path_of(order))
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let (status, answer) = send_once(authority, request).await?;
        if !status.is_success() {
            bail!(
                "the filter {file} was refused: {}",
                excerpt(status, &answer)
            );
        }
    }
    Ok(())
}

async fn remove(authority: &str) -> anyhow::Result<()> {
    for order in 0..five().len() {
        let request = Request::delete(path_of(order))
            .header(HOST, authority)
            .body(Full::new(Bytes::new()))?;
        let (status, answer) = send_once(authority, request).await?;
        if !status.is_success() {
            bail!(
                "the filter f{order} was not removed: {}",
                excerpt(status, &answer)
            );
        }
    }
    Ok(())
}

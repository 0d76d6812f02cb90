//! `dormouse token`: who is let in. At a server, or in the folder of one that does not run, which is
//! how the first token of a server for others is made.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use dormouse_gateway::tokens::{self, LastAdmin, NewToken, TokenError};
use dormouse_store::{OpenOptions, Store, TokenStore};
use serde_json::{Value, json};

use crate::Usage;
use crate::args::{TokenCommand, TokenCreateArgs, TokenListArgs, TokenPlace, TokenRevokeArgs};
use crate::client::Client;
use crate::registry::{list as members, shown, table};

pub(crate) fn token(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(args) => create(args),
        TokenCommand::List(args) => list(&args),
        TokenCommand::Revoke(args) => revoke(&args),
    }
}

fn create(args: TokenCreateArgs) -> anyhow::Result<()> {
    let new = NewToken {
        name: args.name,
        scopes: args.scopes,
        expires_in: args.expires.map(|span| span.0.as_secs()),
    };
    let answer = match &args.place.data_dir {
        Some(dir) => in_folder(dir, |store| Ok(json!(tokens::create(store, new)?)))?,
        None => at_server(&args.place)?.post(&["v1", "tokens"], &json!(new))?,
    };
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let secret = answer["token"].as_str();
    let secret = secret.ok_or_else(|| anyhow!("the server's answer has no token"))?;
    writeln!(out, "{}", secret)?;
    eprintln!(
        "{} may {}. Nobody can show this token again; give it as --token or DORMOUSE_TOKEN.",
        shown(&answer["name"]),
        scopes(&answer)
    );
    Ok(())
}

fn list(args: &TokenListArgs) -> anyhow::Result<()> {
    let answer = match existing(&args.place)? {
        Some(dir) => in_folder(dir, |store| Ok(json!({"tokens": tokens::list(store)?})))?,
        None => at_server(&args.place)?.get(&["v1", "tokens"])?,
    };
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let tokens = members(&answer, "tokens");
    if tokens.is_empty() {
        return Ok(writeln!(
            out,
            "no tokens yet; `dormouse token create` adds one"
        )?);
    }
    let rows = tokens.iter().map(|token| {
        let expires = match (&token["expires"], token["expired"] == true) {
            (Value::Null, _) => "never".to_owned(),
            (time, false) => shown(time),
            (time, true) => format!("{} (expired)", shown(time)),
        };
        [
            shown(&token["name"]),
            scopes(token),
            shown(&token["created"]),
            expires,
        ]
    });
    Ok(table(out, ["TOKEN", "SCOPES", "CREATED", "EXPIRES"], rows)?)
}

fn revoke(args: &TokenRevokeArgs) -> anyhow::Result<()> {
    match existing(&args.place)? {
        Some(dir) => in_folder(dir, |store| {
            tokens::revoke(store, &args.name, LastAdmin::MayGo)
        })?,
        None => at_server(&args.place)?.delete(&["v1", "tokens", &args.name])?,
    }
    Ok(writeln!(io::stdout().lock(), "{} is revoked", args.name)?)
}

/// A folder that is not there has no tokens, and is not to be made for looking.
fn existing(place: &TokenPlace) -> anyhow::Result<Option<&Path>> {
    match place.data_dir.as_deref() {
        Some(dir) if !dir.is_dir() => Err(Usage::error(format!(
            "there is no folder {}",
            dir.display()
        ))),
        dir => Ok(dir),
    }
}

fn at_server(place: &TokenPlace) -> anyhow::Result<Client> {
    Client::new(&place.server)
}

/// Opens the folder as a server would, so that never two work on it.
fn in_folder<T>(
    dir: &Path,
    work: impl FnOnce(&dyn TokenStore) -> Result<T, TokenError>,
) -> anyhow::Result<T> {
    let store = Store::open(dir, &OpenOptions::default())
        .map_err(|error| anyhow!("cannot open the data folder {}: {error}", dir.display()))?;
    let done = work(&*store.tokens).map_err(|error| match error {
        TokenError::Store(error) => error.into(),
        error => Usage::error(error.to_string()),
    });
    store.close().context("the store did not close cleanly")?;
    done
}

fn scopes(token: &Value) -> String {
    let scopes: Vec<String> = members(token, "scopes").iter().map(shown).collect();
    scopes.join(", ")
}

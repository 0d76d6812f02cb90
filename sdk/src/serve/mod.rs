//! The local server: the agents of this process on the A2A endpoints that Dormouse gives them, in
//! memory, for trying things out. One operations layer, two bindings.

#[cfg(not(target_family = "wasm"))]
mod bindings;
#[cfg(not(target_family = "wasm"))]
mod convert;
#[cfg(not(target_family = "wasm"))]
mod http;
#[cfg(not(target_family = "wasm"))]
mod operations;
#[cfg(not(target_family = "wasm"))]
mod task;

use std::io;
#[cfg(not(target_family = "wasm"))]
use std::net::TcpListener;

use crate::AgentDefinition;

/// Serves agents to A2A clients on this machine, until the process ends.
///
/// Each agent is at `http://ADDRESS/agents/{name}`, over JSON-RPC and HTTP+JSON, with its card at
/// `/agents/{name}/.well-known/agent-card.json`. Tasks and state are kept in memory. The address is
/// the environment's `DORMOUSE_LISTEN` (`ADDRESS:PORT`), else port `PORT` of 127.0.0.1, else
/// 127.0.0.1:8080; port 0 picks a free one. Prints `listening on http://ADDRESS:PORT` when ready.
///
/// This is for trying an agent, not for the internet: no authentication, one thread. A module
/// built for WebAssembly has no server; there it fails as unsupported.
///
/// ```no_run
/// # use dormouse_sdk::AgentDefinition;
/// # fn configure_agents() -> Vec<AgentDefinition> { Vec::new() }
/// fn main() -> std::io::Result<()> {
///     dormouse_sdk::serve(configure_agents())
/// }
/// ```
pub fn serve(agents: Vec<AgentDefinition>) -> io::Result<()> {
    #[cfg(target_family = "wasm")]
    {
        drop(agents);
        let sentence = "a WebAssembly agent is served by Dormouse; build natively to serve it here";
        Err(io::Error::new(io::ErrorKind::Unsupported, sentence))
    }
    #[cfg(not(target_family = "wasm"))]
    {
        let address = match (std::env::var("DORMOUSE_LISTEN"), std::env::var("PORT")) {
            (Ok(address), _) => address,
            (_, Ok(port)) => format!("127.0.0.1:{port}"),
            _ => "127.0.0.1:8080".to_owned(),
        };
        serve_on(TcpListener::bind(address)?, agents)
    }
}

/// [`serve`] on a socket that is already bound, for tests on a port of their own. The definitions
/// of agents stay on the thread that made them, so make them on the thread that serves.
///
/// ```no_run
/// # use dormouse_sdk::AgentDefinition;
/// # fn configure_agents() -> Vec<AgentDefinition> { Vec::new() }
/// # fn main() -> std::io::Result<()> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// std::thread::spawn(move || dormouse_sdk::serve_on(listener, configure_agents()));
/// println!("agents at http://{address}");
/// # Ok(())
/// # }
/// ```
#[cfg(not(target_family = "wasm"))]
pub fn serve_on(listener: TcpListener, agents: Vec<AgentDefinition>) -> io::Result<()> {
    http::run(listener, agents)
}

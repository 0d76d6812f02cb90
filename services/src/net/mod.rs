//! The one way out of the platform: HTTP to hosts that somebody else named.
//!
//! Whoever names a webhook may name a neighbour of the platform instead. So the name is resolved
//! here, every address is checked ([`address`]), and the connection goes to an address that was
//! checked, never to what a second lookup says. There are no proxies, and redirects are not followed:
//! they are answers like others. Operators may let hosts in that the check refuses ([`allow`]).

pub mod address;
pub mod allow;
mod client;
mod dial;
mod exchange;
mod streamed;

pub use allow::{AllowList, AllowRule};
pub use client::{Connection, HttpClient, NetError};
pub use dial::{DialError, Lookup, Target, TargetError, Trust};
pub use exchange::Answer;
pub use streamed::{Driving, Received, StreamError, Times};

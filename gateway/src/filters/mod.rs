//! Filters in the path: components that see requests before agents do, and responses before clients do.
//!
//! Reading order: `filter` (one of them, and what its failure means), `question` (what it is asked), `said` (what comes of that), `turn` (one call of it), `waiting` (who waits
//! for it), `breaker` (when it is not asked any more), `audit` (what is said of its decisions), `pipeline` (all that apply to a request, in their order) with `bodies`, `messages` (those
//! that see messages), `edits` (what of an answer is valid), `book` (which there are, and how they change), `standing` (those before agents now, and those that are leaving), `api`
//! (`/v1/filters`), `stored` (what is kept of one), `limits` (what one may use), `metrics`.
//!
//! Without a filter all of this costs a request one load of a pointer, and a message one look at a flag.

mod api;
mod audit;
mod bodies;
mod book;
mod breaker;
mod edits;
mod filter;
mod limits;
mod messages;
mod metrics;
mod pipeline;
mod question;
mod said;
mod standing;
mod stored;
mod turn;
mod waiting;

pub(crate) use api::answer;
pub(crate) use book::Filters;
pub(crate) use messages::{Guard, strip};
pub(crate) use pipeline::{Ask, Pipeline};

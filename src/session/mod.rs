//! What a client says and hears: requests are decoded, given to the engine, and answered as they finish.
//!
//! Knows no socket: [`crate::transport::Session`] is how it is spoken to. A [`ClientSession`] consists of parts that
//! own their state: frames asked for one by one, batches, control messages and streams. What they have in common, the
//! [`link::ClientLink`], is lent to each call.

mod batch;
mod client;
mod context;
mod control;
mod describe;
mod directory;
mod error;
mod event;
mod frames;
mod link;
mod registry;
mod streams;
#[cfg(test)]
mod tests;

pub use client::ClientSession;
pub use context::Context;
pub use describe::{metadata, model_list, stats_snapshot};
pub use error::SessionError;
pub use event::{Event, StreamEvent};
pub use registry::StreamRegistry;

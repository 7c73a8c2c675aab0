//! The network's side: listener, connection threads, HTTP, and the WebSocket loop.
//!
//! The only room that names tungstenite. It knows nothing of faces: what it serves comes in through
//! [`Service`] and [`Session`], which tests implement too.

mod accept;
mod connection;
pub mod http;
mod memory;
pub mod routes;
mod session;
mod socket;

pub use accept::{Server, TransportError};
pub use memory::MemoryConnection;
pub use session::{Close, Incoming, Negotiated, Outbox, Outgoing, Service, Session};

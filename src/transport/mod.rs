//! The network's side: listeners, connection threads, HTTP, and the WebSocket loop.
//!
//! The only room that names tungstenite. It knows no routes and nothing of faces: what it serves comes in through
//! [`Service`] and [`Session`], which tests implement too.

mod accept;
mod connection;
pub mod http;
mod outbound;
mod outbox;
mod service;
mod session;
mod shared;
mod socket;

pub use accept::{MAX_REFUSED, Server, TransportError};
pub use outbox::{Close, Outbox, Outgoing};
pub use service::{EventOf, HandshakeDecision, Service};
pub use session::{Incoming, Session};

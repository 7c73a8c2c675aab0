//! HTTP/1.1, as far as a page, a health check and a WebSocket handshake need it: heads in, whole
//! responses out. No request bodies, no chunks, no ranges.

mod head;
mod response;

pub use head::{Head, HeadError, Method};
pub use response::Response;

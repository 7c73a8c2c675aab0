//! What every room may use and what knows none of them: waking threads, shutdown, the panic fence, ids, limits.

pub mod event_queue;
pub mod ids;
pub mod limits;
pub mod panic;
pub mod pcm16;
pub mod ping_pong;
pub(crate) mod poll;
pub mod shutdown;

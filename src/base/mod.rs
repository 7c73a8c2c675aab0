//! What every room may use and what knows none of them: waking threads, shutdown, the panic fence, ids, limits, buffers with
//! room.

pub mod event_queue;
pub mod ids;
pub mod limits;
pub mod log_throttle;
pub mod padded;
pub mod panic;
pub mod pcm16;
pub mod ping_pong;
pub(crate) mod poll;
pub mod sample_rate;
pub mod shutdown;

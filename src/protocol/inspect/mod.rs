//! Takes recorded messages apart for a person: every field with its offset, bytes and value, and where it is wrong.

mod message;
pub(super) mod protobuf;
mod recording;
mod report;
mod show;
mod text;

pub use message::{inspect, inspect_unknown};
pub use recording::{Entry, EntryError, Payload};
pub use report::{Direction, Field, Report};
pub use text::inspect_text;

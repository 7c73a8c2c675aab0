//! JSON text messages: requests and replies of version 1, and the control messages of all versions.

mod decode;
mod encode;
mod value;

pub(super) use decode::{decode, ids};
pub(super) use encode::{batch, error, frame, to_text};

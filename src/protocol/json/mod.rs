//! JSON text messages: requests and replies of version 1, and the control messages of all versions.

mod decode;
mod encode;
mod loose;

pub(super) use decode::{decode, decode_audio};
pub(super) use encode::{base64_field, encode};

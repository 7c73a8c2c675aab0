//! A package's name as it came in a message.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// The name of a package, borrowed from the message that it came in: a clone copies nothing.
///
/// Any text up to the limit, to be looked up, never a path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ModelName(Bytes);

impl ModelName {
    /// A name that is a part of a message and was found to be UTF-8.
    pub(super) fn of_text(bytes: Bytes) -> ModelName {
        ModelName(bytes)
    }
}

impl Deref for ModelName {
    type Target = str;

    fn deref(&self) -> &str {
        // It was text when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<String> for ModelName {
    fn from(name: String) -> ModelName {
        ModelName(name.into())
    }
}

impl From<&str> for ModelName {
    fn from(name: &str) -> ModelName {
        ModelName(Bytes::copy_from_slice(name.as_bytes()))
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for ModelName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

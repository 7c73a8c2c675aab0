//! Bytes with room in front and behind, so that a message is made around them without a copy.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Bytes that lie in the middle of one allocation. Dereferences to the bytes alone.
#[derive(Clone, Default)]
pub struct PaddedBytes {
    /// The room in front, then the bytes; what is spare in capacity is the room behind.
    buffer: Vec<u8>,
    front: usize,
}

impl PaddedBytes {
    /// Nothing yet, with `front` bytes of room before it and room for `capacity` bytes, those that will stand behind
    /// included.
    pub fn with_room(front: usize, capacity: usize) -> PaddedBytes {
        let mut buffer = Vec::with_capacity(front + capacity);
        buffer.resize(front, 0);
        PaddedBytes { buffer, front }
    }

    /// Where the bytes are appended: what is there already must stay.
    pub fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// One message: `front`, the bytes, `back`. Copies only where the room does not suffice.
    pub fn into_framed(mut self, front: &[u8], back: &[u8]) -> Bytes {
        match self.front.checked_sub(front.len()) {
            Some(start) => {
                self.buffer[start..self.front].copy_from_slice(front);
                self.buffer.extend_from_slice(back);
                Bytes::from(self.buffer).slice(start..)
            }
            None => [front, &self, back].concat().into(),
        }
    }
}

impl Deref for PaddedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.front..]
    }
}

impl PartialEq for PaddedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<Vec<u8>> for PaddedBytes {
    fn from(buffer: Vec<u8>) -> Self {
        PaddedBytes { buffer, front: 0 }
    }
}

impl From<Bytes> for PaddedBytes {
    fn from(bytes: Bytes) -> Self {
        Vec::from(bytes).into()
    }
}

impl From<PaddedBytes> for Bytes {
    fn from(bytes: PaddedBytes) -> Self {
        bytes.into_framed(&[], &[])
    }
}

impl fmt::Debug for PaddedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaddedBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_made_in_the_same_allocation_where_there_is_room() {
        let padded = || {
            let mut bytes = PaddedBytes::with_room(4, 10);
            bytes.writer().extend_from_slice(b"picture");
            assert_eq!(&*bytes, b"picture");
            bytes
        };
        for (front, back, stays) in [
            (&b"head"[..], &b"end"[..], true),
            (b"h", b"", true),
            (b"", b"", true),
            (b"too long", b"end", false),
        ] {
            let bytes = padded();
            let at = bytes.as_ptr();
            let framed = bytes.into_framed(front, back);
            assert_eq!(framed, [front, b"picture", back].concat());
            assert_eq!(framed[front.len()..].as_ptr() == at, stays, "{front:?}");
        }
        let plain = PaddedBytes::from(b"x".to_vec());
        assert_eq!(Bytes::from(plain), "x");
    }
}

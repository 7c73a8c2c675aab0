//! The one cursor that reads binary messages of clients.

use bytes::Bytes;

use super::error::Fault;

/// Reads a message from front to back. Never reads past its end, never allocates: byte fields are slices
/// of the message.
#[derive(Debug, Clone)]
pub struct Reader {
    message: Bytes,
    offset: usize,
}

impl Reader {
    /// A cursor at the front of `message`.
    pub fn new(message: Bytes) -> Self {
        Reader { message, offset: 0 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.message.len() - self.offset
    }

    /// The next `count` bytes, borrowed from the message.
    pub fn bytes(&mut self, field: &'static str, count: usize) -> Result<Bytes, Fault> {
        if count > self.left() {
            return Err(Fault::Truncated {
                field,
                offset: self.offset,
                needed: count,
                left: self.left(),
            });
        }
        let start = self.offset;
        self.offset += count;
        Ok(self.message.slice(start..self.offset))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Fault> {
        let Some(bytes) = self
            .message
            .get(self.offset..)
            .and_then(|rest| rest.first_chunk::<N>())
        else {
            return Err(Fault::Truncated {
                field,
                offset: self.offset,
                needed: N,
                left: self.left(),
            });
        };
        self.offset += N;
        Ok(*bytes)
    }

    /// The next byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Fault> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// The next two bytes, little-endian.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Fault> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// The next four bytes, little-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Fault> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// The next eight bytes, little-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Fault> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The next four bytes, little-endian IEEE 754.
    pub fn f32(&mut self, field: &'static str) -> Result<f32, Fault> {
        self.array(field).map(f32::from_le_bytes)
    }

    /// The next number in protobuf's variable length: seven bits a byte, lowest first, at most ten bytes.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, Fault> {
        let offset = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let reason = format!("the varint at offset {offset} is longer than 10 bytes");
        Err(Fault::Protobuf { reason })
    }

    /// All bytes not read yet, borrowed from the message.
    pub fn rest(&mut self) -> Bytes {
        let start = self.offset;
        self.offset = self.message.len();
        self.message.slice(start..)
    }

    /// Ends the reading: left-over bytes are an error.
    pub fn finish(self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            count => Err(Fault::LeftOver {
                offset: self.offset,
                count,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_little_endian_and_stops_at_the_end() {
        let mut reader = Reader::new(Bytes::from_static(&[1, 2, 0, 3, 0, 0, 0, 9]));
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(2));
        assert_eq!(reader.u32("c"), Ok(3));
        assert_eq!(
            reader.u32("d"),
            Err(Fault::Truncated {
                field: "d",
                offset: 7,
                needed: 4,
                left: 1
            })
        );
        assert_eq!(
            reader.clone().finish(),
            Err(Fault::LeftOver {
                offset: 7,
                count: 1
            })
        );
        assert_eq!(reader.rest().as_ref(), [9]);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_claimed_length_beyond_the_message_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[0; 4]));
        assert!(reader.bytes("name", usize::MAX).is_err());
        assert_eq!(reader.offset(), 0);
    }
}

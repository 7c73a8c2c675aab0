//! The one cursor that reads binary messages of clients.

use super::error::DecodeErrorKind;

/// Reads a message from front to back. Never reads past its end, never allocates: byte fields are slices
/// of the message.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    message: &'a [u8],
    offset: usize,
}

/// A field of a protobuf message, by its wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Reader<'a> {
    /// A cursor at the front of `message`.
    pub fn new(message: &'a [u8]) -> Self {
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

    /// The next `count` bytes.
    pub fn bytes(
        &mut self,
        field: &'static str,
        count: usize,
    ) -> Result<&'a [u8], DecodeErrorKind> {
        let rest = self.message.get(self.offset..).unwrap_or_default();
        let Some((bytes, _)) = rest.split_at_checked(count) else {
            return Err(DecodeErrorKind::Truncated {
                field,
                offset: self.offset,
                needed: count,
                left: rest.len(),
            });
        };
        self.offset += count;
        Ok(bytes)
    }

    /// The next number in protobuf's variable length: seven bits a byte, lowest first, at most ten bytes.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeErrorKind> {
        let offset = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = little_endian(self.bytes(field, 1)?);
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let reason = format!("the varint at offset {offset} is longer than 10 bytes");
        Err(DecodeErrorKind::Protobuf { reason })
    }

    /// The next field of a protobuf message: its number and its value.
    pub fn protobuf_field(&mut self) -> Result<(u64, WireValue<'a>), DecodeErrorKind> {
        let offset = self.offset;
        let key = self.varint("field's key")?;
        let number = key >> 3;
        if number == 0 {
            let reason = format!("the key at offset {offset} is of field 0, which is none");
            return Err(DecodeErrorKind::Protobuf { reason });
        }
        let value = match key & 7 {
            0 => WireValue::Varint(self.varint("varint")?),
            1 => WireValue::Fixed64(little_endian(self.bytes("field of 8 bytes", 8)?)),
            2 => {
                let length = usize::try_from(self.varint("length")?).unwrap_or(usize::MAX);
                WireValue::Bytes(self.bytes("field with a length", length)?)
            }
            5 => WireValue::Fixed32(little_endian(self.bytes("field of 4 bytes", 4)?) as u32),
            wire_type => {
                let reason = format!(
                    "wire type {wire_type} of field {number} at offset {offset} is not used"
                );
                return Err(DecodeErrorKind::Protobuf { reason });
            }
        };
        Ok((number, value))
    }

    /// Ends the reading: left-over bytes are an error.
    pub fn finish(&self) -> Result<(), DecodeErrorKind> {
        match self.left() {
            0 => Ok(()),
            count => Err(DecodeErrorKind::LeftOver {
                offset: self.offset,
                count,
            }),
        }
    }
}

/// A number of at most eight bytes, lowest first.
#[inline]
pub(super) fn little_endian(bytes: &[u8]) -> u64 {
    match *bytes {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_little_endian_and_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 2, 0, 9]);
        assert_eq!(reader.bytes("a", 1), Ok(&[1][..]));
        assert_eq!(reader.bytes("b", 2).map(little_endian), Ok(2));
        assert_eq!(
            reader.bytes("c", 4),
            Err(DecodeErrorKind::Truncated {
                field: "c",
                offset: 3,
                needed: 4,
                left: 1
            })
        );
        let (offset, count) = (3, 1);
        assert_eq!(
            reader.finish(),
            Err(DecodeErrorKind::LeftOver { offset, count })
        );
        assert_eq!(reader.bytes("d", 1), Ok(&[9][..]));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_claimed_length_beyond_the_message_is_refused() {
        let mut reader = Reader::new(&[0; 4]);
        assert!(reader.bytes("name", usize::MAX).is_err());
        assert_eq!(reader.offset(), 0);
    }
}
